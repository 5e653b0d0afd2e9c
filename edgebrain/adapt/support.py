"""The support set: labelled scans, read once, and what a person should know before trusting what they teach."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgebrain.decision import outlier_score
from edgebrain.errors import UsageError, printable
from edgebrain.folders import folders_in, scans_below
from edgebrain.labelled import SPLIT_ALIASES, Sample, canonical_label, read_labelled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgebrain.classifier import Classifier
    from edgebrain.metrics import Indices
    from edgebrain.types import Float32

FEW = 5
"""Independent scans of a class below which a warning is due."""
_UNEVEN = 4
"""Times as many scans of one class as of another from which a warning is due."""
_FOREIGN = 0.5
"""Outlier score that counts as strange where the model has no limit of its own."""
_LEAST = 2
"""Independent scans that each class needs: one to learn from while the other is left out."""
_BATCH = 8
_TRAIN = "train"


@dataclass(frozen=True)
class Support:
    """Labelled scans as the model sees them.

    Attributes:
        samples: The scans that could be read.
        embedding: float32 [N, D].
        groups: int [N]; scans with the same pixels, or of one group of a manifest, share one.
        strange: Paths of scans that do not look like what the model knows.
        unreadable: Why each of the others could not be read.
        digest: SHA-256 over labels and prepared pixels, in hex.
    """

    samples: tuple[Sample, ...]
    embedding: Float32
    groups: Indices
    strange: tuple[str, ...]
    unreadable: tuple[str, ...]
    digest: str


def find_samples(path: Path, labels: Sequence[str], tell: Callable[[str], None] | None = None) -> list[Sample]:
    """The labelled scans of a folder or manifest; a folder's classes may have any name.

    Where there is a training split, it is that split: the others are there to judge by. Images that a manifest calls
    copies, or that carry two labels, teach nothing.

    Args:
        path: Folder or CSV file.
        labels: Labels to know beside those of public sets.
        tell: Gets a line on what was left out, if anything was.

    Raises:
        UsageError: There are none, or all are of one class.
    """
    new = []
    if path.is_dir():
        known = {*labels, *SPLIT_ALIASES}
        strange = [child for child in folders_in(path) if canonical_label(child.name, labels=known) is None]
        new = [child.name for child in strange if any(p.parent == child for p in scans_below(child))]
    samples = _to_learn_from(read_labelled(path, labels=[*labels, *new]), tell)
    classes = sorted({sample.label for sample in samples}) or ["none"]
    if len(classes) <= 1:
        raise UsageError(
            f"{path} has one class only, {classes[0]}: there is nothing to tell apart.",
            remedy="Give a folder with two or more class folders.",
        )
    return samples


def _to_learn_from(samples: Sequence[Sample], tell: Callable[[str], None] | None) -> list[Sample]:
    splits = {sample.split for sample in samples}
    split = [sample for sample in samples if sample.split == _TRAIN] if _TRAIN in splits else list(samples)
    kept = [sample for sample in split if not sample.copy_of and not sample.conflict]
    marked = len(split) - len(kept)
    if tell is not None and len(kept) < len(samples):
        why = [f"the split {_TRAIN} alone"] if len(split) < len(samples) else []
        why += [f"without {marked} marked as a copy or a conflict"] if marked else []
        tell(f"learning from {_scans(len(kept))} of {len(samples)}: {', '.join(why)}")
    return kept


def read_support(classifier: Classifier, samples: Sequence[Sample], follow: Callable[[], None]) -> Support:
    """Read scans and run them through the graph.

    Args:
        classifier: The model.
        samples: What to read; of a file with several frames all.
        follow: Is told after each file.

    Raises:
        UsageError: A class has no scan that can be read, or only copies of one.
        EngineFailed: The engine broke.
    """
    kept, images, unreadable = [], [], []
    for sample in samples:
        for ready in classifier.read(sample.path):
            if ready.prepared is None:
                unreadable.append(str(ready.error))
            else:
                kept.append(sample)
                images.append(ready.prepared.image)
        follow()
    _check_classes(samples, kept, unreadable)
    outputs = [classifier.engine.run(np.stack(images[i : i + _BATCH])) for i in range(0, len(images), _BATCH)]
    digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    groups = _groups(kept, digests)
    _check_groups(kept, groups)
    limit = classifier.bundle.manifest.decision.max_outlier
    strange: tuple[str, ...] = ()
    if "outlier" in outputs[0]:
        scores = [outlier_score(float(one)) for output in outputs for one in output["outlier"]]
        far = _FOREIGN if limit is None else limit
        strange = tuple(s.path for s, score in zip(kept, scores, strict=True) if not score <= far)
    lines = sorted(f"{s.label}\0{d}" for s, d in zip(kept, digests, strict=True))
    return Support(
        samples=tuple(kept),
        embedding=np.concatenate([output["embedding"] for output in outputs]),
        groups=groups,
        strange=strange,
        unreadable=tuple(unreadable),
        digest=hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest(),
    )


def warnings_of(support: Support, *, names: bool = True) -> list[str]:
    """What a person should know, in words; empty if nothing stands out.

    Args:
        support: The scans.
        names: Whether files may be named. A bundle is passed on, and a file name may be a patient's.
    """
    labels = sorted({s.label for s in support.samples})
    independent = {label: _independent(support, label) for label in labels}
    said = [f"left out: {printable(reason)}" for reason in support.unreadable if names]
    if support.unreadable and not names:
        said.append(f"left out: {_scans(len(support.unreadable))} that could not be read")
    few = [f"{name} ({count})" for name, count in independent.items() if count < FEW]
    if few:
        said.append(f"few independent scans: {', '.join(few)}; with fewer than {FEW} a class the result is a guess")
    if max(independent.values()) >= _UNEVEN * min(independent.values()):
        most, least = max(labels, key=independent.__getitem__), min(labels, key=independent.__getitem__)
        said.append(f"unbalanced: {independent[most]} of {most}, {independent[least]} of {least}")
    copies = len(support.samples) - int(np.unique(support.groups).size)
    if copies == 1:
        said.append(f"1 of {_scans(len(support.samples))} repeats another one; the two are left out together")
    elif copies:
        said.append(f"{copies} of {_scans(len(support.samples))} repeat another one; they are left out together")
    if support.strange:
        count = len(support.strange)
        example = f", {printable(Path(support.strange[0]).name)} for one" if names and count > 1 else ""
        example = f", {printable(Path(support.strange[0]).name)}" if names and count == 1 else example
        said.append(
            f"{_scans(count)} {'does' if count == 1 else 'do'} not look like a brain MRI slice to the model{example}: "
            "it would not assess such scans"
        )
    return said


def contradictions(support: Support) -> list[str]:
    """Files with the same pixels and different labels, with these."""
    found: dict[int, dict[str, str]] = {}
    for sample, group in zip(support.samples, support.groups.tolist(), strict=True):
        found.setdefault(group, {})[sample.label] = sample.path
    clashes = [labels for labels in found.values() if len(labels) > 1]
    return [" and ".join(f"{path} ({label})" for label, path in labels.items()) for labels in clashes]


def _scans(count: int) -> str:
    return "1 scan" if count == 1 else f"{count} scans"


def _independent(support: Support, label: str) -> int:
    return len({g for s, g in zip(support.samples, support.groups.tolist(), strict=True) if s.label == label})


def _groups(samples: Sequence[Sample], digests: Sequence[str]) -> Indices:
    """Joins scans that share a group, a file or their pixels."""
    parents = list(range(len(samples)))

    def root(i: int) -> int:
        while parents[i] != i:
            i = parents[i]
        return i

    seen: dict[tuple[str, str], int] = {}
    for i, (sample, digest) in enumerate(zip(samples, digests, strict=True)):
        for key in (("pixels", digest), ("file", sample.path), ("group", sample.group)):
            if key[1]:
                parents[root(i)] = root(seen.setdefault(key, i))
    _, numbers = np.unique([root(i) for i in range(len(samples))], return_inverse=True)
    return numbers.astype(np.intp)


def _check_classes(samples: Sequence[Sample], kept: Sequence[Sample], unreadable: Sequence[str]) -> None:
    lost = sorted({s.label for s in samples} - {s.label for s in kept})
    if lost:
        raise UsageError(f"No scan of {', '.join(lost)} can be read. {unreadable[0]}", remedy="Give other scans.")


def _check_groups(samples: Sequence[Sample], groups: Indices) -> None:
    for label in sorted({s.label for s in samples}):
        count = len({g for s, g in zip(samples, groups.tolist(), strict=True) if s.label == label})
        if count < _LEAST:
            raise UsageError(
                f"There is one independent scan of {label}: what is learned of it cannot be tried on another one.",
                remedy=f"Give {_LEAST} different scans of each class at least; {FEW} or more are better.",
            )
