"""The teacher: a trained network whose answers the student learns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edgebrain.errors import TrainingError

from .config import Recipe
from .models import load_model

Teach = Callable[[Tensor], Tensor]
"""Images [N, 1, H, W], uint8 or float on the same scale, to logits float32 [N, K]."""


def load_teacher(recipe: Recipe) -> Teach | None:
    """The teacher that a recipe names; several answer together, with the mean of their logits.

    A function, not a module: it is neither trained nor kept in the student's checkpoints.

    Raises:
        TrainingError: One cannot be read, or answers with other labels.
    """
    named = recipe.distill.teacher
    nets = [_network(Path(path), recipe) for path in ([named] if isinstance(named, str) else named) if path]
    if not nets:
        return None

    def teach(images: Tensor) -> Tensor:
        with torch.no_grad():
            answers = [net.to(images.device)(images).logits.float() for net in nets]
        return torch.stack(answers).mean(dim=0)

    return teach


def _network(path: Path, recipe: Recipe) -> nn.Module:
    if not path.is_file():
        raise TrainingError(
            f"There is no teacher {path}.",
            remedy="Train it: edgebrain train teacher; then --set distill.teacher=runs/teacher/model.safetensors",
        )
    trained = load_model(path)
    if trained.recipe.data.labels != recipe.data.labels:
        raise TrainingError(
            f"The teacher {path} knows {', '.join(trained.recipe.data.labels)}, "
            f"the student {', '.join(recipe.data.labels)}."
        )
    net = trained.net.eval().requires_grad_(requires_grad=False)
    return folded(net).to(memory_format=torch.channels_last)


def folded(net: nn.Module) -> nn.Module:
    """Fold normalisation by batch into the convolution before it, where one follows the other in a sequence.

    The answers are the same but for rounding. A teacher answers in every step, mostly at the pace of memory, and each
    normalisation reads and writes all features once more.

    Args:
        net: In evaluation mode; its sequences are changed in place.

    Returns:
        The same network.
    """
    for sequence in [module for module in net.modules() if isinstance(module, nn.Sequential)]:
        for place in range(len(sequence) - 1):
            conv, norm = sequence[place], sequence[place + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                sequence[place], sequence[place + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return net
