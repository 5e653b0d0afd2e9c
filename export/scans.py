"""Scans for calibration and for the gate: never the same, told by what is in the pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgebrain.asked import as_asked
from edgebrain.errors import UsageError
from edgebrain.folders import folders_in, scans_below
from edgebrain.labelled import Sample, read_labelled
from edgebrain.train.data import PreparedSet, prepare_samples
from edgebrain.types import Image8, InputSpec

from .quantize import calibration_choice

_SHOWN = 3


def calibration_samples(path: Path, labels: Sequence[str]) -> list[Sample]:
    """Scans to calibrate with; labels only serve to choose evenly, so a plain folder of scans will do.

    Args:
        path: Folder, class folders or CSV. Of one with a ``train`` split, that split.
        labels: The model's labels; scans of other classes are left out.

    Raises:
        UsageError: There are none.
    """
    if path.is_dir() and not folders_in(path):
        files = scans_below(path)
        if not files:
            raise UsageError(f"{path} holds no scans to calibrate with.")
        return [Sample(str(file), labels[0]) for file in files]
    return _chosen(path, labels, "train")


def validation_samples(path: Path, labels: Sequence[str]) -> list[Sample]:
    """Labelled scans for the gate: class folders or a CSV; of one with a ``val`` split, that split.

    Raises:
        UsageError: There are none, or a class is unknown.
    """
    return _chosen(path, labels, "val")


def _chosen(path: Path, labels: Sequence[str], split: str) -> list[Sample]:
    samples = as_asked(read_labelled(path, labels=labels), labels)
    if any(s.split == split for s in samples):
        samples = [s for s in samples if s.split == split]
    kept = [s for s in samples if s.label in labels and not s.copy_of and not s.conflict]
    if not kept:
        raise UsageError(f"{path} has no scan of the model's classes ({', '.join(labels)}).")
    return kept


def prepare_calibration(
    samples: Sequence[Sample], labels: Sequence[str], spec: InputSpec, count: int, seed: int
) -> PreparedSet:
    """Read scans, and keep some of them, equally from every class.

    Args:
        samples: What there is.
        labels: The model's labels.
        spec: Its input.
        count: How many to keep, at most.
        seed: Seed of the choice.
    """
    everything = prepare_samples(samples, labels, spec, None)
    chosen = calibration_choice(everything.targets, count, seed)
    return PreparedSet(
        everything.images[chosen],
        everything.targets[chosen],
        tuple(everything.samples[i] for i in chosen),
        everything.unreadable,
    )


def refuse_overlap(calibration: PreparedSet, validation: PreparedSet) -> None:
    """Refuse scans that would both calibrate and judge: the same picture, under any name, or the same group.

    Raises:
        UsageError: There are such scans; the message names files.
    """
    both = [(calibration.samples[i].path, other.path) for i, other in _overlap(calibration, validation)]
    if both:
        named = "; ".join(a if a == b else f"{a} and {b}" for a, b in both[:_SHOWN])
        more = f" and {len(both) - _SHOWN} more" if len(both) > _SHOWN else ""
        raise UsageError(
            f"{len(both)} calibration scans are in validation, too, or in a group with it: {named}{more}.",
            remedy="Take them out of one of the two; a gate on scans that were calibrated with shows nothing.",
        )


def without_overlap(calibration: PreparedSet, validation: PreparedSet) -> PreparedSet:
    """The calibration scans that are not in validation, either; for scans that nobody chose by hand."""
    both = {i for i, _ in _overlap(calibration, validation)}
    kept = [i for i in range(len(calibration.samples)) if i not in both]
    return PreparedSet(
        calibration.images[kept],
        calibration.targets[kept],
        tuple(calibration.samples[i] for i in kept),
        calibration.unreadable,
    )


def _overlap(calibration: PreparedSet, validation: PreparedSet) -> list[tuple[int, Sample]]:
    judged = {_content(image): s for image, s in zip(validation.images, validation.samples, strict=True)}
    # By the group alone: an audit finds groups that span sources, and gives them one name.
    groups = {s.group: s for s in validation.samples if s.group}
    found = []
    for i, (image, sample) in enumerate(zip(calibration.images, calibration.samples, strict=True)):
        other = judged.get(_content(image)) or groups.get(sample.group)
        if other is not None:
            found.append((i, other))
    return found


def content_digest(prepared: PreparedSet) -> str:
    """Name scans by what is in them: SHA-256, in hex, over the sorted digests of the prepared pictures."""
    return hashlib.sha256("\n".join(sorted(map(_content, prepared.images))).encode()).hexdigest()


def _content(image: Image8) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()
