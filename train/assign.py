"""Which group goes into which split, so that labels and sources are spread as evenly as whole groups allow."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

Stratum = tuple[str, ...]
"""A label alone, or a label and a source."""

_FIRST_SERVED = ("train", "test", "val")  # where a label has fewer groups than there are splits
_ROUNDING = 0.5  # samples by which a split may go over its share
_EQUAL = 1e-9  # needs closer than this are equal; the draw decides


def assign(clusters: Mapping[str, Counter[Stratum]], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Give every cluster a split: largest first, each to the split that lacks the largest share of what it holds.

    Args:
        clusters: Number of samples that count, per stratum, of each cluster.
        shares: Share of each split, above 0; what counts nowhere goes to the first.
        seed: Another seed decides otherwise between splits that lack as much.

    Returns:
        The split of every cluster.
    """
    totals: Counter[Stratum] = Counter()
    left: Counter[Stratum] = Counter()  # clusters to come, a label
    for counts in clusters.values():
        totals.update(counts)
        left.update(_labels(counts))
    missing = {name: {stratum: share * n for stratum, n in totals.items()} for name, share in shares.items()}
    first = [name for name in _FIRST_SERVED if name in shares]
    empty = {label: first[:count] for label, count in left.items()}  # splits still owed one cluster of the label
    chosen: dict[str, str] = {}
    for key in sorted(clusters, key=lambda k: (-_size(clusters[k]), _draw(seed, k), k)):
        counts = clusters[key]
        if not counts:  # copies and doubtful images of nothing that counts
            chosen[key] = next(iter(shares))
            continue
        names = _owed(counts, left, empty, list(shares)) or list(shares)
        name = chosen[key] = _neediest(counts, names, missing, totals, shares, draw=_draw(seed, key))
        for stratum, n in counts.items():
            missing[name][stratum] -= n
        for label in _labels(counts):
            left[label] -= 1
            empty[label] = [other for other in empty[label] if other != name]
    return chosen


def _owed(
    counts: Counter[Stratum],
    left: Mapping[Stratum, int],
    empty: Mapping[Stratum, list[str]],
    splits: Sequence[str],
) -> list[str]:
    """List the splits that must have this cluster, since as many lack its label as there are clusters left of it."""
    owed = [set(empty[label]) for label in _labels(counts) if empty[label] and left[label] <= len(empty[label])]
    if not owed:
        return []
    common = set.intersection(*owed) or owed[0]
    return [name for name in splits if name in common]


def _neediest(
    counts: Counter[Stratum],
    names: Sequence[str],
    missing: Mapping[str, Mapping[Stratum, float]],
    totals: Mapping[Stratum, int],
    shares: Mapping[str, float],
    *,
    draw: float,
) -> str:
    """Choose by the missing share where the cluster fits, else by the missing number.

    By share alone a small split would overflow with the largest cluster; by number alone it would only get singletons.
    """
    labels = _labels(counts)
    fits = [name for name in names if all(missing[name][s] >= counts[s] - _ROUNDING for s in labels)]
    if not fits:
        return max(names, key=lambda name: sum(missing[name][s] for s in labels))
    need = {name: sum(n * missing[name][s] / (shares[name] * totals[s]) for s, n in counts.items()) for name in fits}
    most = max(need.values())
    equal = [name for name in fits if need[name] > most - _EQUAL]
    place = draw * sum(shares[name] for name in equal)
    for name in equal:
        place -= shares[name]
        if place < 0.0:
            return name
    return equal[-1]


def _labels(counts: Counter[Stratum]) -> list[Stratum]:
    return sorted(stratum for stratum in counts if len(stratum) == 1)


def _size(counts: Counter[Stratum]) -> int:
    return sum(counts[label] for label in _labels(counts))


def _draw(seed: int, key: str) -> float:
    """Draw a number in [0, 1) that depends on the seed and the key alone."""
    return fixed_number(f"{seed}\0{key}")


def fixed_number(text: str) -> float:
    """A number in [0, 1) that depends on a text alone."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2.0**64
