"""What a recipe asks of data that was labelled for another question.

Two labels that are ``no_tumor`` and ``tumor`` make every kind of tumour a tumour (see edgebrain/asked.py); samples keep
the labels that they were given, and everything here looks at them as the recipe asks. Any other labels leave the rest
out: glioma against meningioma can be learnt from a set of four classes. Rare labels go, and no patient counts for too
much.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np

from edgebrain.asked import as_asked
from edgebrain.errors import TrainingError
from edgebrain.labelled import ANY_TUMOR, NOT_BRAIN_MRI, Sample

from .assign import fixed_number
from .config import DataConfig, Recipe
from .splits import SPLITS, usable

_FEWEST_LABELS = 2


def left_out(samples: Sequence[Sample], config: DataConfig) -> dict[str, int]:
    """Count the samples that a recipe has no use for, by label.

    Args:
        samples: As they were given.
        config: Labels, and whether other pictures and scans with some tumour are wanted.
    """
    wanted = {
        *config.labels,
        *([NOT_BRAIN_MRI] if config.outliers else []),
        *([ANY_TUMOR] if config.some_tumor else []),
    }
    return dict(sorted(Counter(s.label for s in as_asked(samples, config.labels) if s.label not in wanted).items()))


def without_rare(recipe: Recipe, samples: Sequence[Sample]) -> Recipe:
    """Drop the labels that have fewer samples than ``data.rare_below``; the order of the others stays.

    Args:
        recipe: As it was read.
        samples: All splits, as they were given; copies do not count.

    Returns:
        The recipe to train; the same where nothing is rare.

    Raises:
        TrainingError: Fewer than two labels are left.
    """
    if not recipe.data.rare_below:
        return recipe
    counts = Counter(s.label for s in as_asked(samples, recipe.data.labels) if not s.copy_of)
    kept = tuple(label for label in recipe.data.labels if counts[label] >= recipe.data.rare_below)
    if len(kept) < _FEWEST_LABELS:
        found = ", ".join(f"{label} {counts[label]}" for label in recipe.data.labels)
        raise TrainingError(
            f"Fewer than two labels have {recipe.data.rare_below} scans: {found}.", remedy="Lower data.rare_below."
        )
    return msgspec.structs.replace(recipe, data=msgspec.structs.replace(recipe.data, labels=kept))


def capped(samples: Sequence[Sample], most: int) -> list[Sample]:
    """Take at most so many samples of one patient or group, evenly spaced, as neighbouring slices tell the least news.

    Args:
        samples: In the order of the slices; those without a group are all kept.
        most: 0 takes all.

    Returns:
        What is kept, in its order.
    """
    if not most:
        return list(samples)
    members: defaultdict[str, list[int]] = defaultdict(list)
    for i, sample in enumerate(samples):
        if sample.group:
            members[sample.group].append(i)
    kept = {i for i, sample in enumerate(samples) if not sample.group}
    for rows in members.values():
        places = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)
        kept.update(rows[place] for place in places)
    return [sample for i, sample in enumerate(samples) if i in kept]


def with_more_training(samples: Sequence[Sample], share: float) -> list[Sample]:
    """Train on a share of what val has, group by group.

    Which groups go is in their names alone: the same at every start, and once more changes nothing. Test stays, and so
    does every group of a label of which val would have nothing left to judge with.

    Args:
        samples: Of all splits; a sample without a group is one of its own, known by its source and file name, which
            stay what they are wherever the files lie.
        share: Of the groups of val, in [0, 1).
    """
    train, val, _ = SPLITS
    judging = [s for s in samples if s.split == val]
    going = {name for s in judging if fixed_number(name := _group_of(s)) < share}
    left = {s.label for s in judging if usable(s) and _group_of(s) not in going}
    going -= {_group_of(s) for s in judging if s.label not in left}
    return [replace(s, split=train) if s.split == val and _group_of(s) in going else s for s in samples]


def _group_of(sample: Sample) -> str:
    file = sample.path.replace("\\", "/").rsplit("/", 1)[-1]
    return sample.group or f"{sample.source}/{file}"


def check_classes(samples: Sequence[Sample], labels: Sequence[str]) -> None:
    """Refuse data that lacks a class, before any long work.

    Args:
        samples: As they were given.
        labels: Of the recipe.

    Raises:
        TrainingError: A label has no scan.
    """
    counts = Counter(s.label for s in as_asked(samples, labels))
    missing = [label for label in labels if not counts[label]]
    if missing:
        found = ", ".join(f"{label} {n}" for label, n in sorted(counts.items()))
        raise TrainingError(
            f"The data has no scan of: {', '.join(missing)}. It has: {found}.",
            remedy="Give a data folder that holds every class, or a recipe of those it holds, with data.labels.",
        )
