"""Held-out scans of a bundle that is already made: reading them, and what the bundle gives on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgebrain.bundle import Manifest
from edgebrain.engines import Engine
from edgebrain.errors import TrainingError, UsageError
from edgebrain.labelled import NOT_BRAIN_MRI, Sample
from edgebrain.train.data import PreparedSet, prepare_samples
from edgebrain.types import Float32

_BATCH = 32
_DECIDING = ("logits", "outlier", "contradicted")


def validation_scans(manifest: Manifest, samples: Sequence[Sample]) -> PreparedSet:
    """The val split, without copies and scans of contested label.

    Raises:
        UsageError: It has no scans of the model's classes, none that can be read, or none with or without a tumour.
    """
    scans = scans_of(manifest, samples, "val")
    if scans is None:
        raise UsageError(
            "The data has no val split with scans of the model's classes.",
            remedy="Make splits with: edgebrain audit DIR... --splits FILE.csv",
        )
    _check_both(manifest, scans)
    return scans


def scans_of(manifest: Manifest, samples: Sequence[Sample], split: str) -> PreparedSet | None:
    """Scans of the model's classes in a split, without copies and scans of contested label; None where there are none.

    Raises:
        UsageError: None of them can be read.
    """
    return _prepared(manifest, samples, manifest.labels, split)


def validation_pictures(manifest: Manifest, samples: Sequence[Sample]) -> PreparedSet | None:
    """Pictures of the val split that are no brain MRI; None where there are none.

    Raises:
        UsageError: None of them can be read.
    """
    return _prepared(manifest, samples, (NOT_BRAIN_MRI,), "val")


def outputs_on(engine: Engine, prepared: PreparedSet) -> dict[str, Float32]:
    """What decides on scans: ``logits`` [N, K], and ``outlier`` and ``contradicted`` [N] where there are any."""
    images = prepared.images[:, np.newaxis]
    parts = [engine.run(images[begin : begin + _BATCH]) for begin in range(0, len(images), _BATCH)]
    return {role: np.concatenate([part[role] for part in parts]) for role in _DECIDING if role in parts[0]}


def _prepared(manifest: Manifest, samples: Sequence[Sample], labels: Sequence[str], split: str) -> PreparedSet | None:
    chosen = [s for s in samples if s.split == split and s.label in labels and not s.copy_of and not s.conflict]
    if not chosen:
        return None
    try:
        return prepare_samples(chosen, manifest.labels, manifest.input, None)
    except TrainingError as error:  # nothing is trained here
        raise UsageError(
            f"None of the {len(chosen)} scans of the {split} split with label {' or '.join(labels)} can be read.",
            remedy=f"The first is {chosen[0].path}; 'edgebrain audit' on its folder says what is wrong.",
        ) from error


def _check_both(manifest: Manifest, scans: PreparedSet) -> None:
    """Refuse scans that know one side of the thresholds only."""
    if manifest.negative_label is None:
        return
    without = scans.targets == manifest.labels.index(manifest.negative_label)
    if without.all() or not without.any():
        raise UsageError(
            f"The val split has {int(without.sum())} scans without a tumour and {int((~without).sum())} with one; "
            "thresholds lie between the two.",
            remedy="Add scans of the other kind; some dozens of each make a threshold that holds.",
        )
