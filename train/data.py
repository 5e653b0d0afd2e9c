"""Labelled samples as tensors: prepared once, kept as uint8 in memory, changed at random as they are drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from edgebrain.errors import ScanError, TrainingError
from edgebrain.labelled import Sample
from edgebrain.preprocessing import prepare
from edgebrain.readers import read_middle
from edgebrain.types import Image8, InputSpec

from .augment import augment
from .config import AugmentConfig, DataConfig


class Draw(NamedTuple):
    """Which sample is drawn, and in which epoch: together with the seed they fix its augmentation."""

    epoch: int
    sample: int


@dataclass(frozen=True)
class PreparedSet:
    """Samples ready for training or evaluation.

    Attributes:
        images: uint8 [N, S, S].
        targets: int64 [N], index into the labels.
        samples: Where they come from.
        unreadable: Files that were left out, each with the reason.
    """

    images: Image8
    targets: np.ndarray[tuple[int], np.dtype[np.int64]]
    samples: tuple[Sample, ...]
    unreadable: tuple[str, ...]


def select(samples: Sequence[Sample], split: str, config: DataConfig) -> list[Sample]:
    """The samples of one split that a recipe wants.

    Copies and conflicts are left out of train and val. Val chooses the best epoch and the temperature, where a scan
    that was published five times would count five times, and a copy whose original is in train would reward memory.
    They stay in test: an evaluation must not choose its cases, its intervals count groups instead.

    Raises:
        TrainingError: Nothing is left, or a class has no sample.
    """
    chosen = [s for s in samples if s.split == split and s.label in config.labels]
    if split in ("train", "val"):
        chosen = [
            s for s in chosen if not (config.drop_copies and s.copy_of) and not (config.drop_conflicts and s.conflict)
        ]
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

    def read(sample: Sample) -> Image8 | str:
        try:
            image: Image8 = prepare(read_middle(sample.path), canvas).image[0]
        except ScanError as error:
            return str(error)
        return image

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(read, samples))
    kept = [(s, r) for s, r in zip(samples, results, strict=True) if not isinstance(r, str)]
    if not kept:
        raise TrainingError("None of the scans could be read.", remedy="Run 'edgebrain audit' on the data folder.")
    index = {label: i for i, label in enumerate(labels)}
    return PreparedSet(
        images=np.stack([image for _, image in kept]),
        targets=np.array([index[s.label] for s, _ in kept], np.int64),
        samples=tuple(s for s, _ in kept),
        unreadable=tuple(r for r in results if isinstance(r, str)),
    )


def digest(samples: Sequence[Sample]) -> str:
    """Name the data that a model was made from.

    Args:
        samples: Labelled scans; their order counts.

    Returns:
        SHA-256, in hex, over one line a sample: source, file name without its folders, label and split. Where the files
        lie, their pixels, groups, copies and conflicts are not in it: splits that differ in nothing else are one data.
    """
    sha = hashlib.sha256()
    for s in samples:
        sha.update(
            f"{s.source}\0{s.path.rsplit('/', 1)[-1]}\0{s.label}\0{s.split}\n".encode("utf-8", "surrogateescape")
        )
    return sha.hexdigest()


class ScanDataset(Dataset[tuple[Tensor, int]]):
    """Prepared scans as tensors; with an AugmentConfig, each draw is changed at random.

    Args:
        prepared: The scans.
        spec: The model's input.
        config: Random changes, or None for evaluation.
        seed: Seed of the random changes.
        epochs: Epochs of the whole training; the changes may calm down towards its end.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        spec: InputSpec,
        config: AugmentConfig | None = None,
        *,
        seed: int = 0,
        epochs: int = 1,
    ) -> None:
        self.prepared = prepared
        self.side = (spec.height, spec.width)
        self.config = config
        self.seed = seed
        self.epochs = epochs

    def __len__(self) -> int:
        """Number of scans."""
        return len(self.prepared.targets)

    def __getitem__(self, item: int | Draw) -> tuple[Tensor, int]:
        """A scan, uint8 [1, H, W], and its target."""
        epoch, sample = item if isinstance(item, Draw) else (0, item)
        image = self.prepared.images[sample]
        if self.config is not None:
            config = self.config.at(epoch, self.epochs)
            image = augment(image, self.side, config, np.random.default_rng([self.seed, epoch, sample]))
        return torch.from_numpy(image[np.newaxis]), int(self.prepared.targets[sample])


class BalancedSampler(Sampler[Draw]):
    """Draws one epoch: with replacement where classes are balanced, else a permutation.

    Args:
        targets: int64 [N] class of each sample.
        balance: See DataConfig.balance.
        seed: Seed; the epoch is added to it.
    """

    def __init__(self, targets: np.ndarray[tuple[int], np.dtype[np.int64]], balance: float, seed: int) -> None:
        counts = np.bincount(targets)
        weights = counts[targets].astype(np.float64) ** -balance
        self.weights = weights / weights.sum()
        self.balance = balance
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of draws in an epoch."""
        return len(self.weights)

    def __iter__(self) -> Iterator[Draw]:
        """The draws of the current epoch."""
        rng = np.random.default_rng([self.seed, self.epoch])
        n = len(self.weights)
        if self.balance == 0:
            order = rng.permutation(n)
        else:
            # Systematic sampling: each sample appears floor or ceil of its expected number of times.
            points = (np.arange(n) + rng.random()) / n
            order = rng.permutation(np.searchsorted(np.cumsum(self.weights), points).clip(max=n - 1))
        return (Draw(self.epoch, int(i)) for i in order)
