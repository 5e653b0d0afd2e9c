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
    """Split by near-duplicate group, stratified by label and source.

    Args:
        samples: Each with a ``group``; only usable ones count towards the fractions.
        fractions: Shares of train, val and test; they sum to 1.
        seed: Another seed gives another split.

    Returns:
        The samples in their order with ``split`` filled in. A label whose groups hold no other label is in every split
        with a fraction above 0, if it has as many groups as there are such splits.

    Raises:
        UsageError: The fractions make no sense, or a sample has no group.
    """
    remedy = "Make a manifest with groups first: edgebrain audit DIR --splits FILE.csv"
    return _grouped(samples, fractions, seed, what="near-duplicate group", remedy=remedy)


def by_patient(samples: Sequence[Sample], *, fractions: Fractions = DEFAULT_FRACTIONS, seed: int = 0) -> list[Sample]:
    """Split by patient, stratified by label and source; like :func:`by_group` in all else.

    Args:
        samples: Each with its patient as ``group``, as read from the column ``patient`` or ``group`` of a manifest.
        fractions: Shares of train, val and test; they sum to 1.
        seed: Another seed gives another split.

    Returns:
        The samples in their order with ``split`` filled in.

    Raises:
        UsageError: The fractions make no sense, or a sample has no patient.
    """
    return _grouped(samples, fractions, seed, what="patient", remedy="Add the column 'patient' to the manifest.")


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
    touched = {sample.group for sample in samples if sample.source == source}
    rest = [i for i, sample in enumerate(samples) if sample.group not in touched]
    if not touched or not rest:
        known = ", ".join(sorted({sample.source for sample in samples}))
        what = "every group has an image of it" if touched else f"there is no such source; known: {known}"
        raise UsageError(f"The source {source!r} cannot be held out: {what}.")
    both = fractions[0] + fractions[1]
    shares = (fractions[0] / both, fractions[1] / both, 0.0) if both > 0 else fractions
    split = dict(zip(rest, by_group([samples[i] for i in rest], fractions=shares, seed=seed), strict=True))
    return [split.get(i, replace(sample, split="test")) for i, sample in enumerate(samples)]


def random_split(samples: Sequence[Sample], *, fractions: Fractions = DEFAULT_FRACTIONS, seed: int = 0) -> list[Sample]:
    """Split image by image, stratified by label and source.

    Copies and neighbouring slices land on both sides, so scores measure memory too: only to repeat published work.

    Args:
        samples: Any samples; told apart by label, source and file name, and by path where these are the same.
        fractions: Shares of train, val and test; they sum to 1.
        seed: Another seed gives another split.

    Returns:
        The samples in their order with ``split`` filled in.

    Raises:
        UsageError: The fractions make no sense.
    """
    _check(fractions)
    outside = other_vocabulary(samples)
    keys = _names(samples)
    clusters = {keys[i]: _strata([s]) for i, s in enumerate(samples) if i not in outside}
    chosen = _assign(clusters, fractions, seed)
    return [replace(s, split=EXTERNAL if i in outside else chosen[keys[i]]) for i, s in enumerate(samples)]


def official(samples: Sequence[Sample], *, val_fraction: float = 0.15, seed: int = 0) -> list[Sample]:
    """Keep the split that a data set was published with; take val from train, by group where groups are known.

    Args:
        samples: With ``split`` as read from folders or a manifest.
        val_fraction: Share of train that becomes val; not used where the data has a val split of its own.
        seed: Another seed takes another val.

    Returns:
        The samples in their order. What has no split keeps none.

    Raises:
        UsageError: There is no train or no test split, or the fraction makes no sense.
    """
    present = {sample.split for sample in samples}
    missing = [name for name in ("train", "test") if name not in present]
    if missing:
        raise UsageError(
            f"The data has no official {' and no official '.join(missing)} split.",
            remedy="Give folders named Training and Testing, a manifest with the column 'split', or split by group.",
        )
    _check((1.0 - val_fraction, val_fraction, 0.0))
    outside = other_vocabulary(samples)
    kept = [replace(s, split=EXTERNAL) if i in outside else s for i, s in enumerate(samples)]
    if "val" in present:
        return kept
    train = [i for i, s in enumerate(kept) if s.split == "train"]
    names = _names([kept[i] for i in train])
    keys = {i: f"group {kept[i].group}" if kept[i].group else name for i, name in zip(train, names, strict=True)}
    clusters = _clusters((keys[i], kept[i]) for i in train)
    chosen = _assign(clusters, (1.0 - val_fraction, val_fraction, 0.0), seed)
    return [replace(s, split=chosen[keys[i]]) if i in keys else s for i, s in enumerate(kept)]


def _grouped(samples: Sequence[Sample], fractions: Fractions, seed: int, *, what: str, remedy: str) -> list[Sample]:
    _check(fractions)
    without = next((sample for sample in samples if not sample.group), None)
    if without is not None:
        raise UsageError(f"{without.path!r} has no {what}.", remedy=remedy)
    outside = other_vocabulary(samples)
    clusters = _clusters((s.group, s) for i, s in enumerate(samples) if i not in outside)
    chosen = _assign(clusters, fractions, seed)
    external = {samples[i].group: EXTERNAL for i in outside}
    shared = external.keys() & chosen.keys()
    external.update(dict.fromkeys(shared, ""))
    return [replace(s, split=external[s.group] if i in outside else chosen[s.group]) for i, s in enumerate(samples)]


def _check(fractions: Fractions) -> None:
    if any(not 0.0 <= f <= 1.0 for f in fractions) or abs(sum(fractions) - 1.0) > _SUM_TOLERANCE or fractions[0] <= 0.0:
        raise UsageError(
            f"Fractions {', '.join(f'{f:g}' for f in fractions)} are no shares of train, val and test.",
            remedy="Give three numbers from 0 to 1 that sum to 1, the first above 0, such as 0.7,0.15,0.15.",
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


def _names(samples: Sequence[Sample]) -> list[str]:
    """Give every sample a name of its own that does not depend on where the data lies, as far as that goes."""
    names = ["\0".join((s.label, s.source, s.path.replace("\\", "/").rsplit("/", 1)[-1])) for s in samples]
    count = Counter(names)
    return [name if count[name] == 1 else f"{name}\0{s.path}" for name, s in zip(names, samples, strict=True)]


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
