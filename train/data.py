"""Labelled samples as tensors: prepared once, kept as uint8 in memory, changed at random as they are drawn."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from edgebrain.asked import as_asked
from edgebrain.errors import ScanError, TrainingError
from edgebrain.labelled import ANY_TUMOR, NO_TUMOR, NOT_BRAIN_MRI, Sample
from edgebrain.preprocessing import prepare
from edgebrain.readers import read_middle
from edgebrain.types import Float64, Image8, InputSpec

from .audit_report import Unreadable
from .augment import augment
from .config import DataConfig, Recipe
from .lesions import draw_lesion
from .objective import outlier_target, some_tumor_target
from .pictures import draw_picture, framed
from .tasks import capped

Indices = np.ndarray[tuple[int], np.dtype[np.intp]]


class Draw(NamedTuple):
    """One draw of an epoch: epoch and place fix, together with the seed, everything random about it.

    Attributes:
        epoch: From 0.
        place: Place in the epoch.
        sample: Which sample.
        picture: Draw a picture that is no brain MRI in its stead.
    """

    epoch: int
    place: int
    sample: int
    picture: bool = False


@dataclass(frozen=True)
class PreparedSet:
    """Samples ready for training or evaluation.

    Attributes:
        images: uint8 [N, S, S].
        targets: int64 [N], index into the labels, or one of the targets above them (see objective.py).
        samples: Where they come from.
        unreadable: Files that were left out.
    """

    images: Image8
    targets: np.ndarray[tuple[int], np.dtype[np.int64]]
    samples: tuple[Sample, ...]
    unreadable: tuple[Unreadable, ...]


def select(samples: Sequence[Sample], split: str, config: DataConfig) -> list[Sample]:
    """The samples of one split that a recipe wants.

    Copies and conflicts are left out of train and val. Val chooses the best epoch and the temperature, where a scan
    that was published five times would count five times, and a copy whose original is in train would reward memory.
    They stay in test: an evaluation must not choose its cases, its intervals count groups instead. What has no label
    of the model (pictures that are no brain MRI, scans with some tumour) is only in train, and only if the recipe asks.
    For a binary recipe every kind of tumour is a tumour.

    Raises:
        TrainingError: Nothing is left, or a class has no sample.
    """
    wanted = set(config.labels)
    samples = as_asked(samples, config.labels)
    if split == "train":
        wanted |= ({NOT_BRAIN_MRI} if config.outliers else set()) | ({ANY_TUMOR} if config.some_tumor else set())
    chosen = [s for s in samples if s.split == split and s.label in wanted]
    if split in ("train", "val"):
        chosen = [
            s for s in chosen if not (config.drop_copies and s.copy_of) and not (config.drop_conflicts and s.conflict)
        ]
    if split == "train":
        chosen = capped(chosen, config.cap_per_group)
    missing = sorted(set(config.labels) - {s.label for s in chosen})
    if missing:
        raise TrainingError(
            f"The {split} split has no sample of: {', '.join(missing)}.",
            remedy="Give a data folder that holds every class, or splits made by 'edgebrain audit --splits'.",
        )
    return chosen


def prepare_samples(samples: Sequence[Sample], labels: Sequence[str], spec: InputSpec, side: int | None) -> PreparedSet:
    """Read and prepare samples.

    Args:
        samples: What to read; of a file with several frames the middle one.
        labels: Output labels in order.
        spec: The model's input.
        side: Canvas side in pixels for augmentation, or None for the input size itself.

    Returns:
        The prepared set; files that cannot be used are listed in it and left out.
    """
    canvas = spec if side is None else replace(spec, width=side, height=side)

    def read(sample: Sample) -> Image8 | Unreadable:
        try:
            image: Image8 = prepare(read_middle(sample.path), canvas).image[0]
        except ScanError as error:
            return Unreadable(sample.path, error.code, str(error))
        return image

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(read, samples))
    kept = [(s, r) for s, r in zip(samples, results, strict=True) if not isinstance(r, Unreadable)]
    if not kept:
        raise TrainingError("None of the scans could be read.", remedy="Run 'edgebrain audit' on the data folder.")
    index = {NOT_BRAIN_MRI: outlier_target(len(labels)), ANY_TUMOR: some_tumor_target(len(labels))}
    index |= {label: i for i, label in enumerate(labels)}  # last: binary sets have ``tumor`` as a label of their own
    return PreparedSet(
        images=np.stack([image for _, image in kept]),
        targets=np.array([index[s.label] for s, _ in kept], np.int64),
        samples=tuple(s for s, _ in kept),
        unreadable=tuple(r for r in results if isinstance(r, Unreadable)),
    )


def digest(samples: Sequence[Sample], labels: Collection[str] = ()) -> str:
    """Name the data that a model was made from.

    Args:
        samples: Labelled scans; their order counts.
        labels: Of the model; samples count with the labels that it asks for.

    Returns:
        SHA-256, in hex, over one line a sample: source, file name without its folders, label and split. Where the files
        lie, their pixels, groups, copies and conflicts are not in it: splits that differ in nothing else are one data.
    """
    sha = hashlib.sha256()
    for s in as_asked(samples, labels):
        sha.update(
            f"{s.source}\0{s.path.rsplit('/', 1)[-1]}\0{s.label}\0{s.split}\n".encode("utf-8", "surrogateescape")
        )
    return sha.hexdigest()


def check_readable(prepared: PreparedSet, labels: Sequence[str], split: str) -> None:
    """Refuse a split in which nothing of a class is left.

    Raises:
        TrainingError: There is such a class.
    """
    missing = [label for i, label in enumerate(labels) if i not in prepared.targets]
    if missing:
        raise TrainingError(
            f"No scan of {', '.join(missing)} in the {split} split can be read. {prepared.unreadable[0].message}",
            remedy="Run 'edgebrain audit' on the data folder.",
        )


class ScanDataset(Dataset[tuple[Tensor, int]]):
    """Prepared scans as tensors; with a recipe, each draw is changed at random.

    Args:
        prepared: The scans.
        spec: The model's input.
        recipe: Labels, random changes and seed of a training, or None for evaluation.
    """

    def __init__(self, prepared: PreparedSet, spec: InputSpec, recipe: Recipe | None = None) -> None:
        self.prepared = prepared
        self.side = (spec.height, spec.width)
        self.recipe = recipe

    def __len__(self) -> int:
        """Number of scans."""
        return len(self.prepared.targets)

    def __getitem__(self, item: int | Draw) -> tuple[Tensor, int]:
        """A scan, uint8 [1, H, W], and its target."""
        draw = item if isinstance(item, Draw) else Draw(0, 0, item)
        image, target = self.prepared.images[draw.sample], int(self.prepared.targets[draw.sample])
        if self.recipe is not None:
            image, target = self._changed(image, target, draw, self.recipe)
        return torch.from_numpy(image[np.newaxis]), target

    def _changed(self, image: Image8, target: int, draw: Draw, recipe: Recipe) -> tuple[Image8, int]:
        rng = np.random.default_rng([recipe.seed, draw.epoch, draw.place])
        config = recipe.augment.at(draw.epoch, recipe.trainer.epochs)
        labels = recipe.data.labels
        if draw.picture:
            image, target = draw_picture(image.shape[0], image, rng), outlier_target(len(labels))
        elif target == outlier_target(len(labels)):
            image = framed(image, rng) if rng.random() < _FRAMED else image
        elif config.lesion and target == labels.index(NO_TUMOR) and rng.random() < config.lesion:
            lesion = draw_lesion(image, rng)
            if lesion is not None:
                image, target = lesion, some_tumor_target(len(labels))
        return augment(image, self.side, config, rng), target


_FRAMED = 0.25
"""Share of real pictures that are cut into an oval, as a head lies in a slice."""


class MixedSampler(Sampler[Draw]):
    """Draws one epoch: labelled scans in balance, and set shares of outliers and of scans with some tumour.

    The labelled scans of an epoch are as many as there are; the other shares come on top.

    Args:
        prepared: What there is to draw from.
        config: Labels, balance and shares.
        seed: Seed; the epoch is added to it.
    """

    def __init__(self, prepared: PreparedSet, config: DataConfig, seed: int) -> None:
        targets, labels = prepared.targets, len(config.labels)
        self.config = config
        self.seed = seed
        self.epoch = 0
        self.known = np.flatnonzero(targets < labels)
        counts = np.bincount(targets[self.known], minlength=labels)
        self.weights = counts[targets[self.known]].astype(np.float64) ** -config.balance
        outliers = np.flatnonzero(targets == outlier_target(labels))
        some = np.flatnonzero(targets == some_tumor_target(labels))
        shares = (config.outliers, config.some_tumor if len(some) else 0.0)
        total = len(self.known) / (1 - sum(shares))
        pictures = round(total * shares[0])
        self.drawn = round(pictures * config.drawn) if len(outliers) else pictures
        self.others = (
            (outliers, _by_source(prepared, outliers), pictures - self.drawn),
            (some, np.ones(len(some)), round(total * shares[1])),
        )

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of draws in an epoch."""
        return len(self.known) + self.drawn + sum(count for _, _, count in self.others)

    def __iter__(self) -> Iterator[Draw]:
        """The draws of the current epoch."""
        rng = np.random.default_rng([self.seed, self.epoch])
        if self.config.balance == 0:
            chosen = [self.known]
        else:
            chosen = [self.known[_systematic(self.weights, len(self.known), rng)]]
        chosen += [rows[_systematic(weights, count, rng)] for rows, weights, count in self.others if count]
        real = np.concatenate(chosen)
        # Drawn pictures need a scan too: some are made of its tiles.
        samples = np.concatenate([real, rng.choice(self.known, self.drawn)])
        return (
            Draw(self.epoch, place, int(samples[i]), picture=bool(i >= len(real)))
            for place, i in enumerate(rng.permutation(len(samples)))
        )


def _by_source(prepared: PreparedSet, rows: Indices) -> Float64:
    """Weights that let a source with many pictures count for more than one with few, but not in proportion."""
    sources = [prepared.samples[i].source for i in rows]
    counts = Counter(sources)
    return np.array([counts[source] ** -0.5 for source in sources], np.float64)


def _systematic(weights: Float64, count: int, rng: np.random.Generator) -> Indices:
    """Systematic sampling: each row appears floor or ceil of its expected number of times."""
    points = (np.arange(count) + rng.random()) / count
    return np.searchsorted(np.cumsum(weights / weights.sum()), points).clip(max=len(weights) - 1)
