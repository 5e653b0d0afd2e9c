"""What a network is asked for: the loss of one batch.

Not every target is a label. Some scans are only known to show *some* tumour (another collection, a drawn lesion), and
some pictures are no brain MRI at all. ``targets`` says so with two values above the labels:

====== =========================== ==========================================================================
target what it is                  loss
====== =========================== ==========================================================================
< K    a scan with a label         cross-entropy with label smoothing, and the teacher's answer where it is right
K      no brain MRI                cross-entropy to "all labels alike"; the ``outlier`` output should be high
K + 1  a scan with some tumour     -log(1 - p(no tumour)): which kind is left open
====== =========================== ==========================================================================
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgebrain.labelled import NO_TUMOR

from .config import Recipe
from .edge import EdgeOutput

OUTLIER_WEIGHT = 0.5
"""Weight of the ``outlier`` output's loss."""
UNIFORM_WEIGHT = 0.3
"""Weight of "all labels alike" on outliers (Hendrycks et al., "Deep Anomaly Detection with Outlier Exposure", 2019)."""
_LEAST = 1e-4
"""Below this probability of any tumour the loss stops growing, so that one wrong target cannot tear at the weights."""


class Mixture(NamedTuple):
    """How a batch was mixed: each image is ``share`` of its own and the rest of ``partner``'s."""

    share: float
    partner: Tensor


def outlier_target(labels: int) -> int:
    """The target of pictures that are no brain MRI, among ``labels`` labels."""
    return labels


def some_tumor_target(labels: int) -> int:
    """The target of scans that show a tumour of unknown kind, among ``labels`` labels."""
    return labels + 1


def mix(images: Tensor, targets: Tensor, labels: int, mixing: float) -> tuple[Tensor, Mixture]:
    """Mix the labelled images of a batch pairwise (Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018).

    Args:
        images: uint8 [N, 1, H, W].
        targets: int64 [N].
        labels: Number of labels K; rows with a target above are left as they are.
        mixing: Parameter of the symmetric Beta distribution that the shares are drawn from.

    Returns:
        float32 images on the same scale, and how they were mixed.
    """
    rows = torch.nonzero(targets < labels).squeeze(1)
    partner = torch.arange(len(targets), device=targets.device)
    partner[rows] = rows[torch.randperm(len(rows), device=rows.device)]
    share = float(torch.distributions.Beta(mixing, mixing).sample())
    share = max(share, 1 - share)
    pixels = images.float()
    return share * pixels + (1 - share) * pixels[partner], Mixture(share, partner)


def batch_loss(
    output: EdgeOutput, targets: Tensor, recipe: Recipe, *, taught: Tensor | None = None, mixture: Mixture | None = None
) -> Tensor:
    """The loss of a batch.

    Args:
        output: What the network gave for N images.
        targets: int64 [N], see the module's table.
        recipe: Number of labels, negative label, smoothing and distillation.
        taught: The teacher's logits [N, K] for the same pixels, or None.
        mixture: How the images were mixed, or None.

    Returns:
        A scalar: the mean over the batch, plus the loss of the ``outlier`` output.
    """
    labels = recipe.data.labels
    known, outlier, some = (targets < len(labels), targets == len(labels), targets == len(labels) + 1)
    rows = torch.zeros_like(targets, dtype=torch.float32)
    if known.any():
        rows[known] = _labelled(output.logits, targets, recipe, taught, mixture)[known]
    logs = torch.log_softmax(output.logits, dim=1)
    if outlier.any():
        rows[outlier] = -UNIFORM_WEIGHT * logs[outlier].mean(dim=1)
    if some.any():
        healthy = logs[some, labels.index(NO_TUMOR)].exp()
        rows[some] = -torch.log((1 - healthy).clamp(min=_LEAST))
    loss = rows.mean()
    if output.outlier is not None:
        wanted = outlier.float()
        loss = loss + OUTLIER_WEIGHT * nn.functional.binary_cross_entropy_with_logits(output.outlier, wanted)
    return loss


def _labelled(
    logits: Tensor, targets: Tensor, recipe: Recipe, taught: Tensor | None, mixture: Mixture | None
) -> Tensor:
    truth = targets.clamp(max=logits.shape[1] - 1)  # rows without a label are not looked at
    smoothing = recipe.optimizer.label_smoothing
    loss = nn.functional.cross_entropy(logits, truth, reduction="none", label_smoothing=smoothing)
    if mixture is not None:
        other = nn.functional.cross_entropy(logits, truth[mixture.partner], reduction="none", label_smoothing=smoothing)
        loss = mixture.share * loss + (1 - mixture.share) * other
    if taught is None:
        return loss
    answer = taught.argmax(dim=1)
    right = (answer == truth) if mixture is None else (answer == truth) | (answer == truth[mixture.partner])
    weight = recipe.distill.weight * right.float()
    return (1 - weight) * loss + weight * _apart(logits, taught, recipe.distill.temperature)


def _apart(logits: Tensor, taught: Tensor, heat: float) -> Tensor:
    student, teacher = (torch.log_softmax(values / heat, dim=1) for values in (logits, taught))
    rows = nn.functional.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)
    # Times the temperature squared, so that the share of both losses does not depend on it (Hinton et al. 2015).
    return heat**2 * rows
