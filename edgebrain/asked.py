"""Labels as a model asks for them: to one that only tells tumour from none, every kind of tumour is a tumour."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from edgebrain.labelled import ANY_TUMOR, CLASS_ALIASES, NO_TUMOR, NOT_BRAIN_MRI, Sample

TUMORS = frozenset(CLASS_ALIASES.values()) - {NO_TUMOR, NOT_BRAIN_MRI}
"""Labels that all say tumour."""


def is_binary(labels: Collection[str]) -> bool:
    """Say whether labels ask for tumour or none, whatever its kind."""
    return set(labels) == {NO_TUMOR, ANY_TUMOR}


def asked_label(label: str, labels: Collection[str]) -> str:
    """Say what a scan's label is to a model.

    Args:
        label: As it was given.
        labels: Of the model.

    Returns:
        ``tumor`` for every kind of tumour where the labels are ``no_tumor`` and ``tumor``; else the label itself.
    """
    return ANY_TUMOR if label in TUMORS and is_binary(labels) else label


def as_asked(samples: Sequence[Sample], labels: Collection[str]) -> list[Sample]:
    """Give samples the labels that a model asks for; twice is the same as once.

    Args:
        samples: Labelled by kind, or already as asked.
        labels: Of the model.

    Returns:
        All samples in their order, labelled by :func:`asked_label`.
    """
    return [replace(s, label=asked_label(s.label, labels)) for s in samples]
