"""Which samples train a model, which choose it and which judge it.

Pure functions from samples to samples with their ``split`` filled in. They depend on the seed and on what the samples
are, never on the order they come in: groups are ranked by a keyed hash of their id, which the audit derives from the
contents of files.

A group (a patient, or images that nearly repeat each other) stays in one split. Balance comes before stability: labels
and sources are spread as evenly as whole groups allow, so adding data may move other groups. Keep the manifest that a
model was trained with.

Vocabularies do not mix: where kinds of tumour are told apart, a sample that is only ``tumor`` gets the split
``external``, to judge on, or no split where it shares a group with the rest. To train on such samples, split them on
their own; recipes take them with ``data.some_tumor``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from edgebrain.errors import UsageError
from edgebrain.labelled import ANY_TUMOR, NO_TUMOR, NOT_BRAIN_MRI, Sample

from .assign import Stratum, assign

SPLITS = ("train", "val", "test")
EXTERNAL = "external"
DEFAULT_FRACTIONS = (0.7, 0.15, 0.15)

Fractions = tuple[float, float, float]
_SUM_TOLERANCE = 1e-6


def usable(sample: Sample) -> bool:
    """Say whether a sample counts: no copy of another one, and no doubt about its label."""
    return not sample.copy_of and not sample.conflict


def by_group(samples: Sequence[Sample], *, fractions: Fractions = DEFAULT_FRACTIONS, seed: int = 0) -> list[Sample]:
    """Split by near-duplicate group, stratified by label and source; an audit puts a patient's scans into one group.

    Args:
        samples: Each with a ``group``; only usable ones count towards the fractions.
        fractions: Shares of train, val and test; they sum to 1. Without a share for train, the splits only
            calibrate and judge.
        seed: Another seed gives another split.

    Returns:
        The samples in their order with ``split`` filled in. A label whose groups hold no other label is in every split
        with a fraction above 0, if it has as many groups as there are such splits.

    Raises:
        UsageError: The fractions make no sense, or a sample has no group.
    """
    _check(fractions)
    _need_groups(samples)
    outside = other_vocabulary(samples)
    clusters = _clusters((s.group, s) for i, s in enumerate(samples) if i not in outside)
    chosen = _assign(clusters, fractions, seed)
    external = {samples[i].group: EXTERNAL for i in outside}
    shared = external.keys() & chosen.keys()
    external.update(dict.fromkeys(shared, ""))
    return [replace(s, split=external[s.group] if i in outside else chosen[s.group]) for i, s in enumerate(samples)]


def hold_out(
    samples: Sequence[Sample], source: str, *, fractions: Fractions = DEFAULT_FRACTIONS, seed: int = 0
) -> list[Sample]:
    """Keep one source for judging: how good is a model on a hospital that it never saw?

    Sets that were published under several names repeat each other, so whole groups go: nothing that nearly repeats an
    image of the source is trained on, whatever source it came from.

    Args:
        samples: Each with a ``group``.
        source: What to keep out of training.
        fractions: Shares of train and val in the rest; that of test is not used.
        seed: Another seed gives another split of the rest.

    Returns:
        The samples in their order: every group with an image of the source is ``test``.

    Raises:
        UsageError: There is no such source, nothing is left to train on, or a sample has no group.
    """
    _need_groups(samples)
    touched = {sample.group for sample in samples if sample.source == source}
    rest = [i for i, sample in enumerate(samples) if sample.group not in touched]
    if not touched or not rest:
        known = ", ".join(sorted({sample.source for sample in samples}))
        what = "every group has an image of it" if touched else f"there is no such source; known: {known}"
        raise UsageError(f"The source {source!r} cannot be held out: {what}.")
    split = _train_and_val(samples, rest, fractions, seed)
    return [split.get(i, replace(sample, split="test")) for i, sample in enumerate(samples)]


def keep_test(samples: Sequence[Sample], *, fractions: Fractions = DEFAULT_FRACTIONS, seed: int = 0) -> list[Sample]:
    """Keep the test split that data was published with, and its val split where it has one.

    Published splits put copies and neighbouring slices on both sides. What judges stays as it is, for comparison with
    what others measured on it; what nearly repeats it is left out of training, so that memory earns nothing.

    Args:
        samples: Each with a ``group``, and with ``split`` as read from folders or a manifest.
        fractions: Shares of train and val in the rest; that of test is not used, and that of val only where the data
            has no val split of its own.
        seed: Another seed gives another split of the rest.

    Returns:
        The samples in their order. What has no split is split with what was published for training; what shares a group
        with test or ``external``, or with a val split of the data, has none. What judges repeats nothing but scans of
        its own split: where an audit kept a copy outside of it, one of the split counts in its stead.

    Raises:
        UsageError: There is no test split, nothing is left to train on, or a sample has no group.
    """
    _check(fractions)
    _need_groups(samples)
    outside = other_vocabulary(samples)
    inside = [i for i in range(len(samples)) if i not in outside]
    held: dict[str, str] = {}  # the split that a group judges in
    for name in _JUDGES:
        held.update({samples[i].group: name for i in inside if samples[i].split == name})
    rest = [i for i in inside if samples[i].group not in held]
    has_test = "test" in held.values()
    if not has_test or not rest:
        what = "every group has an image that judges" if has_test else "the data has none"
        raise UsageError(
            f"The data's own test split cannot be kept: {what}.",
            remedy="Give folders named Training and Testing or a manifest with the column 'split', or split by group.",
        )
    own_val = (1.0, 0.0, 0.0) if "val" in held.values() else fractions
    split = _train_and_val(samples, rest, own_val, seed)
    known = {samples[i].group for i in inside}
    kept: list[Sample] = []
    for i, s in enumerate(samples):
        if i in split:
            kept.append(split[i])
        elif i in outside:
            kept.append(replace(s, split="" if s.group in known else EXTERNAL))
        else:
            kept.append(s if _stays(s.split, held[s.group]) else replace(s, split=""))
    return _copies_within(kept)


_JUDGES = ("val", EXTERNAL, "test")
"""Splits that data comes with and that are kept; of a group in more than one, the last counts."""


def _copies_within(samples: Sequence[Sample]) -> list[Sample]:
    """Let what judges repeat scans of its own split only; of those that repeat one outside, the first by path is kept.

    A scan whose larger copy is in no split, or in another one, would be left out wherever copies are, and none would
    be counted in its stead.
    """
    homes = {s.path: s.split for s in samples}
    outward = [s for s in samples if s.split in _JUDGES and s.copy_of and homes.get(s.copy_of) != s.split]
    heirs: dict[tuple[str, str], str] = {}
    for s in outward:
        key = (s.split, s.copy_of)
        heirs[key] = min(s.path, heirs.get(key, s.path))
    instead = {s.path: heirs[s.split, s.copy_of] for s in outward}
    return [
        replace(s, copy_of="" if instead[s.path] == s.path else instead[s.path]) if s.path in instead else s
        for s in samples
    ]


def _stays(own: str, held: str) -> bool:
    return own == held or {own, held} == {"test", EXTERNAL}


def _train_and_val(
    samples: Sequence[Sample], rest: Sequence[int], fractions: Fractions, seed: int
) -> dict[int, Sample]:
    """Split what is not kept for judging, by index."""
    both = fractions[0] + fractions[1]
    if both <= 0:
        raise UsageError(
            "What is not kept for judging goes to train and val, and the fractions leave nothing to them.",
            remedy="Give shares whose first or second is above 0, such as 0.7,0.15,0.15.",
        )
    shares = (fractions[0] / both, fractions[1] / both, 0.0)
    return dict(zip(rest, by_group([samples[i] for i in rest], fractions=shares, seed=seed), strict=True))


def _need_groups(samples: Sequence[Sample]) -> None:
    without = next((sample for sample in samples if not sample.group), None)
    if without is not None:
        raise UsageError(
            f"{without.path!r} has no near-duplicate group.",
            remedy="Make a manifest with groups first: edgebrain audit DIR --splits FILE.csv",
        )


def _check(fractions: Fractions) -> None:
    if any(not 0.0 <= f <= 1.0 for f in fractions) or abs(sum(fractions) - 1.0) > _SUM_TOLERANCE:
        raise UsageError(
            f"Fractions {', '.join(f'{f:g}' for f in fractions)} are no shares of train, val and test.",
            remedy="Give three numbers from 0 to 1 that sum to 1, such as 0.7,0.15,0.15.",
        )


def other_vocabulary(samples: Sequence[Sample]) -> set[int]:
    """Find samples that are only ``tumor`` although the set tells kinds apart."""
    if {sample.label for sample in samples} <= {ANY_TUMOR, NO_TUMOR, NOT_BRAIN_MRI}:
        return set()
    return {i for i, sample in enumerate(samples) if sample.label == ANY_TUMOR}


def one_vocabulary(samples: Sequence[Sample]) -> list[Sample]:
    """Put manifests together that were split on their own.

    Where kinds of tumour are told apart, scans that are only ``tumor`` may teach that there is one, but no figure about
    kinds can count them: those that were meant to judge become ``external``.

    Args:
        samples: Of all manifests, each with its split.

    Returns:
        The samples in their order.
    """
    outside = other_vocabulary(samples)
    return [replace(s, split=EXTERNAL) if i in outside and s.split != SPLITS[0] else s for i, s in enumerate(samples)]


def _clusters(pairs: Iterable[tuple[str, Sample]]) -> dict[str, Counter[Stratum]]:
    members: defaultdict[str, list[Sample]] = defaultdict(list)
    for key, sample in pairs:
        members[key].append(sample)
    return {key: _strata(cluster) for key, cluster in members.items()}


def _strata(cluster: Iterable[Sample]) -> Counter[Stratum]:
    counts: Counter[Stratum] = Counter()
    for sample in cluster:
        if usable(sample):
            counts[(sample.label,)] += 1
            counts[(sample.label, sample.source)] += 1
    return counts


def _assign(clusters: Mapping[str, Counter[Stratum]], fractions: Fractions, seed: int) -> dict[str, str]:
    shares = {name: share for name, share in zip(SPLITS, fractions, strict=True) if share > 0.0}
    return assign(clusters, shares, seed)
