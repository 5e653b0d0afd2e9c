"""Figures of a network on a prepared split, in float32 and without augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from edgebrain import calibration, metrics
from edgebrain.types import Float32, Image8

from .config import Recipe
from .data import PreparedSet


def network_logits(net: nn.Module, images: Image8, batch: int = 256) -> Float32:
    """Logits of a network in evaluation mode.

    Args:
        net: Takes uint8 [N, 1, H, W], returns an object with ``logits``.
        images: uint8 [N, H, W].
        batch: Images a step.

    Returns:
        float32 [N, K].
    """
    net.eval()
    with torch.inference_mode():
        parts = [
            net(torch.from_numpy(images[i : i + batch, np.newaxis])).logits.float().numpy()
            for i in range(0, len(images), batch)
        ]
    return np.concatenate(parts)


def score(net: nn.Module, prepared: PreparedSet, recipe: Recipe) -> dict[str, Any]:
    """Accuracy, macro-F1, recall per class and the temperature that calibrates this split."""
    labels = recipe.data.labels
    logits = network_logits(net, prepared.images)
    confusion = metrics.confusion_matrix(prepared.targets, logits.argmax(1), len(labels))
    rates = metrics.class_rates(confusion)
    return {
        "scans": len(prepared.targets),
        "unreadable": len(prepared.unreadable),
        "accuracy": round(float(metrics.accuracy(confusion)), 5),
        "macro_f1": round(float(metrics.macro_f1(confusion)), 5),
        "recall": {label: round(float(r), 5) for label, r in zip(labels, rates.recall, strict=True)},
        "confusion": confusion.tolist(),
        "temperature": round(calibration.fit_temperature(logits.astype(np.float64), prepared.targets), 4),
    }
