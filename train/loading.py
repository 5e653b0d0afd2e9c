"""Batches of a training: whole ones, divided into parts and among processes so that their gradients add up to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, Subset

from edgebrain.errors import TrainingError, UsageError

from .config import Recipe
from .data import Draw, MixedSampler, PreparedSet, ScanDataset
from .models import build

Loader = DataLoader[tuple[Tensor, int]]


class Place(NamedTuple):
    """Which of how many processes this is.

    Attributes:
        rank: From 0.
        processes: All that share the work, over all machines.
    """

    rank: int = 0
    processes: int = 1


class DividedBatches(Sampler[list[Draw]]):
    """What one process draws: its share of every batch, part by part.

    All processes draw the same epoch, because it depends on the seed and the epoch alone, and take rows of their own.
    Shares are of one size, so that the mean over parts and processes of mean gradients is the gradient of the batch.

    Args:
        sampler: Draws an epoch.
        batch: Draws a batch, over all processes and parts; an incomplete last one is left out.
        parts: Parts of a batch whose gradients are added up one after the other.
        place: Which process this is.
    """

    def __init__(self, sampler: MixedSampler, batch: int, parts: int = 1, place: Place | None = None) -> None:
        self.sampler = sampler  # by this name the trainer finds what it tells the epoch
        self.batch = batch
        self.parts = parts
        self.place = place or Place()

    def __len__(self) -> int:
        """Number of parts in an epoch."""
        return len(self.sampler) // self.batch * self.parts

    def __iter__(self) -> Iterator[list[Draw]]:
        """The parts of the current epoch."""
        draws = list(self.sampler)
        size = self.batch // (self.parts * self.place.processes)
        for part in range(len(self)):
            start = (part * self.place.processes + self.place.rank) * size
            yield draws[start : start + size]


def training_loader(recipe: Recipe, prepared: PreparedSet, place: Place | None = None) -> tuple[Loader, MixedSampler]:
    """The training scans in random batches, and the sampler that must know the epoch before it starts.

    Raises:
        TrainingError: There is less than one batch.
        UsageError: The batch cannot be divided evenly.
    """
    batch, parts, place = recipe.trainer.batch_size, recipe.trainer.accumulate, place or Place()
    if batch % (parts * place.processes):
        raise UsageError(
            f"A batch of {batch} cannot be divided evenly into {parts} parts for {place.processes} processes.",
            remedy=f"Make trainer.batch_size a multiple of {parts * place.processes}.",
        )
    if batch == parts * place.processes and _by_batch(recipe):
        raise UsageError(
            "A part of a batch would be one scan, which cannot be normalised by batch.",
            remedy=f"Make trainer.batch_size {2 * batch} or more, or trainer.accumulate smaller.",
        )
    sampler = MixedSampler(prepared, recipe.data, recipe.seed)
    if len(sampler) < batch:
        raise TrainingError(
            f"An epoch of {len(sampler)} training scans does not fill one batch of {batch}.",
            remedy="Add data, or lower it with --set trainer.batch_size=N.",
        )
    loader = DataLoader(
        ScanDataset(prepared, recipe.input, recipe),
        batch_sampler=DividedBatches(sampler, batch, parts, place),
        num_workers=recipe.trainer.workers,
        persistent_workers=False,  # a new worker each epoch sees the sampler's epoch and holds no state to resume
    )
    return loader, sampler


def _by_batch(recipe: Recipe) -> bool:
    """Whether the network normalises by batch; nothing is allocated for it."""
    with torch.device("meta"):
        net = build(recipe)
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules())  # noqa: SLF001 - no other base


def validation_loader(recipe: Recipe, prepared: PreparedSet, place: Place | None = None) -> Loader:
    """The validation scans in their order; every process has others.

    Raises:
        TrainingError: There are fewer scans than processes.
    """
    place = place or Place()
    rows = range(place.rank, len(prepared.targets), place.processes)
    if len(prepared.targets) < place.processes:
        raise TrainingError(
            f"{len(prepared.targets)} validation scans cannot be shared by {place.processes} processes.",
            remedy="Add data, or use fewer processes.",
        )
    batch = max(1, 4 * recipe.trainer.batch_size // (recipe.trainer.accumulate * place.processes))
    return DataLoader(Subset(ScanDataset(prepared, recipe.input), rows), batch_size=batch)
