"""Figures of a network on a prepared split, in float32 and without augmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from edgebrain import calibration, metrics
from edgebrain.decision import probabilities_of
from edgebrain.evaluation.comparison import evaluate_answers, figures_from
from edgebrain.labelled import NO_TUMOR
from edgebrain.types import Float32, Image8

from .config import Recipe
from .data import PreparedSet

if TYPE_CHECKING:
    from edgebrain.evaluation.record import Evaluation


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


def evaluate_logits(logits: Float32, prepared: PreparedSet, labels: Sequence[str], temperature: float) -> Evaluation:
    """All figures of a split with their intervals; copies are left out, so that no scan counts twice.

    Args:
        logits: float32 [N, K] of the N prepared scans.
        prepared: The scans; intervals count groups where every scan has one.
        labels: K labels.
        temperature: That of val; a split that fitted its own would flatter itself.
    """
    rows = [i for i, sample in enumerate(prepared.samples) if not sample.copy_of]
    return evaluate_answers(
        labels,
        NO_TUMOR if NO_TUMOR in labels else None,
        [prepared.samples[i] for i in rows],
        probabilities_of(logits[rows], temperature),
        failed=len(prepared.unreadable),
    )


def judge_splits(
    net: nn.Module, data: Mapping[str, PreparedSet], recipe: Recipe
) -> tuple[dict[str, dict[str, Any]], dict[str, Evaluation]]:
    """Judge a network on val, and on test where there is one.

    Args:
        net: Takes uint8 [N, 1, H, W], returns an object with ``logits``.
        data: Prepared scans, by split; ``val`` is one.
        recipe: Of the network.

    Returns:
        By split: the short figures of :func:`score`, over all scans, and those with intervals, where a split has more
        than copies.
    """
    logits = {split: network_logits(net, data[split].images) for split in ("val", "test") if split in data}
    scores = {split: score(answers, data[split], recipe) for split, answers in logits.items()}
    temperature = float(scores["val"]["temperature"])
    labels = recipe.data.labels
    own = [split for split in logits if not all(sample.copy_of for sample in data[split].samples)]
    return scores, {split: evaluate_logits(logits[split], data[split], labels, temperature) for split in own}


def headline(evaluation: Evaluation) -> dict[str, Any]:
    """What a run's figures say of a split, each figure with its interval."""
    recall = {row.label: asdict(row.recall) for row in evaluation.per_class}
    figures = {name: asdict(figure) for name, figure in figures_from(evaluation).items()}
    return {"scans": evaluation.n, "groups": evaluation.n_groups, **figures, "recall": recall}


def score(logits: Float32, prepared: PreparedSet, recipe: Recipe) -> dict[str, Any]:
    """Accuracy, macro-F1, recall per class and the temperature that calibrates this split, of logits [N, K]."""
    labels = recipe.data.labels
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
