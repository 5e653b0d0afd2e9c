"""The outer loop of meta-learning: tasks from episodes, validation, early stopping, and a state that can be resumed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from edgebrain.errors import TrainingError
from edgebrain.types import Image8

from .config import MetaConfig
from .episodes import Episode, EpisodeSampler
from .maml import Method, Task

Rows = list[dict[str, str]]


@dataclass
class State:
    """Where a meta-training is; everything a resume needs.

    Attributes:
        iteration: Iterations done.
        best: Lowest validation loss.
        best_iteration: Where it was.
        stale: Checks since then.
        seconds: Time spent.
        weights: Weights of the best check.
        current: Weights now.
        optimizer: State of the optimiser.
        scheduler: State of the learning rate.
        rows: One row of figures a check.
    """

    iteration: int = 0
    best: float = math.inf
    best_iteration: int = 0
    stale: int = 0
    seconds: float = 0.0
    weights: dict[str, Tensor] = field(default_factory=dict)
    current: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    rows: Rows = field(default_factory=list)


@dataclass(frozen=True)
class Tasks:
    """Episodes of prepared scans as tensors.

    Attributes:
        images: uint8 [N, S, S].
        sampler: Where episodes come from.
    """

    images: Image8
    sampler: EpisodeSampler

    def task(self, index: int) -> Task:
        """The task of an index, always the same one."""
        return as_task(self.images, self.sampler.episode(index))


def as_task(images: Image8, episode: Episode) -> Task:
    """An episode as tensors."""
    ways, shots = episode.support.shape
    labels = torch.arange(ways)
    classes = torch.tensor(episode.classes)
    queries = episode.query.shape[1]
    return Task(
        support=torch.from_numpy(images[episode.support.ravel(), np.newaxis]),
        support_labels=labels.repeat_interleave(shots),
        query=torch.from_numpy(images[episode.query.ravel(), np.newaxis]),
        query_labels=labels.repeat_interleave(queries),
        query_classes=classes.repeat_interleave(queries),
        ways=ways,
    )


def meta_train(
    net: nn.Module,
    method: Method,
    tasks: Tasks,
    validation: Sequence[Task],
    config: MetaConfig,
    *,
    seed: int,
    state: State | None = None,
    follow: Callable[[State], None] | None = None,
) -> State:
    """Meta-train a network; it ends with the weights of the best check.

    Everything random depends on the seed and the iteration alone, so a run that goes on from a state ends where one
    that was never stopped does.

    Args:
        net: The network.
        method: What is learned; see maml.py.
        tasks: Tasks to learn from.
        validation: Tasks that choose the best weights; of the same kind, but of other scans.
        config: Numbers.
        seed: Seed.
        state: Where to go on.
        follow: Is told after each check.

    Returns:
        The state at the end.

    Raises:
        TrainingError: The loss is not finite.
    """
    state = state or State()
    if state.current:
        net.load_state_dict(state.current)
    optimizer = torch.optim.Adam(net.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=config.factor, patience=config.patience)
    if state.optimizer:
        optimizer.load_state_dict(state.optimizer)
        scheduler.load_state_dict(state.scheduler)
    started, losses = time.monotonic() - state.seconds, []
    while state.iteration < config.iterations and not (config.stop_after and state.stale >= config.stop_after):
        optimizer.zero_grad(set_to_none=True)
        losses.append(_backward(net, method, tasks, config.tasks, (seed, state.iteration)))
        optimizer.step()
        state.iteration += 1
        if state.iteration % config.check_every == 0 or state.iteration == config.iterations:
            state.seconds = time.monotonic() - started
            _check(net, method, validation, state, float(np.mean(losses)))
            losses = []
            scheduler.step(float(state.rows[-1]["val/loss"]))
            state.current = {k: v.detach().clone() for k, v in net.state_dict().items()}
            state.optimizer, state.scheduler = optimizer.state_dict(), scheduler.state_dict()
            if follow is not None:
                follow(state)
    net.load_state_dict(state.weights)
    net.eval()
    return state


def _backward(net: nn.Module, method: Method, tasks: Tasks, count: int, place: tuple[int, int]) -> float:
    """Add the gradients of an iteration's tasks; ``place`` is the seed and the iteration."""
    net.train()
    seed, iteration = place
    torch.manual_seed((seed << 32) + iteration)  # of dropout
    weights = dict(net.named_parameters())
    total = 0.0
    for number in range(count):
        loss = method.loss(net, weights, tasks.task(iteration * count + number)) / count
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    _finite(total, "loss", iteration)
    return total


def _finite(loss: float, what: str, iterations: int) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"The {what} is {loss} after {iterations} iterations.", remedy="Lower meta.lr or meta.inner_lr."
        )


def _check(net: nn.Module, method: Method, validation: Sequence[Task], state: State, train_loss: float) -> None:
    net.eval()
    weights = dict(net.named_parameters())
    losses, hits = [], []
    for task in validation:
        scores = method.scores(net, weights, task).detach()
        losses.append(float(F.cross_entropy(scores, task.query_labels)))
        hits.append(float((scores.argmax(1) == task.query_labels).double().mean()))
    loss = float(np.mean(losses))
    _finite(loss, "validation loss", state.iteration)
    state.stale += 1
    if loss < state.best:
        state.best, state.best_iteration, state.stale = loss, state.iteration, 0
        state.weights = {k: v.detach().clone() for k, v in net.state_dict().items()}
    figures = {"train/loss": train_loss, "val/loss": loss, "val/accuracy": float(np.mean(hits))}
    state.rows.append(
        {"epoch": str(state.iteration - 1), "seconds": f"{state.seconds:.3f}"}
        | {k: repr(v) for k, v in figures.items()}
    )
