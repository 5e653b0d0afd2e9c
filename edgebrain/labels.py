"""Names of classes and splits: what published data sets call them, and what they are called here."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType

from edgebrain.errors import UsageError
from edgebrain.folders import folders_in, scans_below

NO_TUMOR = "no_tumor"
ANY_TUMOR = "tumor"
"""Label of binary sets: some tumour, its kind unknown."""
NOT_BRAIN_MRI = "not_brain_mri"
"""What is no scan: any other picture, kept to measure whether a model refuses it. No model answers with it."""

CLASS_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("glioma", "gliomas", "glioma_tumor", "glioma_tumour", "gl"), "glioma"),
        **dict.fromkeys(("meningioma", "meningiomas", "meningioma_tumor", "meningioma_tumour", "me"), "meningioma"),
        **dict.fromkeys(("pituitary", "pituitary_tumor", "pituitary_tumour", "pituitary_adenoma", "pi"), "pituitary"),
        **dict.fromkeys(
            ("no_tumor", "no_tumour", "notumor", "notumour", "no", "normal", "healthy", "negative"), NO_TUMOR
        ),
        **dict.fromkeys(("tumor", "tumour", "yes", "positive"), ANY_TUMOR),
        **dict.fromkeys(("not_brain_mri", "outlier", "outliers", "other_pictures"), NOT_BRAIN_MRI),
    }
)
"""Class names of published sets, in lower case with ``_`` between words, and the label each stands for."""

SPLIT_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("train", "training"), "train"),
        **dict.fromkeys(("val", "valid", "validation"), "val"),
        **dict.fromkeys(("test", "testing"), "test"),
        "external": "external",
    }
)
"""Names of splits and of the folders that hold them. ``external`` is judged on, never trained on."""


def canonical_label(name: str, *, labels: Collection[str] = ()) -> str | None:
    """Return the label that a class or folder name stands for.

    Args:
        name: As a data set spells it; case, spaces and hyphens do not matter.
        labels: Further labels to accept, for models with classes of their own; they win over the aliases.

    Returns:
        The label, or None where the name is no class.
    """
    for label in labels:
        if fold(label) == fold(name):
            return label
    return CLASS_ALIASES.get(fold(name))


def fold(name: str) -> str:
    """A name in lower case with ``_`` between its words."""
    return "_".join(name.strip().casefold().replace("-", " ").replace("_", " ").split())


def closest(name: str, labels: Collection[str]) -> str | None:
    """The label that a misspelt name may stand for."""
    close = difflib.get_close_matches(fold(name), [*map(fold, labels), *CLASS_ALIASES], n=1, cutoff=0.75)
    return canonical_label(close[0], labels=labels) if close else None


def unknown_class(name: str, where: str, labels: Collection[str]) -> UsageError:
    """Say that a name is no class, and what may have been meant."""
    label = closest(name, labels)
    known = ", ".join(dict.fromkeys([*labels, *CLASS_ALIASES.values()]))
    remedy = f"Did you mean {label}?" if label else f"Known classes: {known}. Rename it, or move it elsewhere."
    return UsageError(f"Unknown class {name!r} in {where!r}.", remedy=remedy)


def no_classes(root: Path, labels: Collection[str]) -> UsageError:
    """Say that a folder holds no class folders, and what may have been meant."""
    for child in folders_in(root):
        if closest(child.name, labels) and scans_below(child):
            return unknown_class(child.name, str(root), labels)
    if canonical_label(root.name, labels=labels) is not None:
        return UsageError(
            f"{str(root)!r} looks like one class folder, not like a folder of classes.",
            remedy=f"Give the folder that holds it: {str(root.parent)!r}.",
        )
    return UsageError(
        f"{str(root)!r} has no class folders.",
        remedy="Sort the scans into folders such as glioma, meningioma, no_tumor and pituitary, or give a CSV with the "
        "columns path,label.",
    )
