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

from .accelerator import find_device
from .config import MetaConfig
from .episodes import Episode, EpisodeSampler
from .maml import Method, Task
from .progress import RATE

Rows = list[dict[str, str]]


@dataclass
class State:
    """Where a meta-training is; everything a resume needs.

    Attributes:
        iteration: Iterations done.
        best: Lowest validation loss.
        best_iteration: Where it was.
        reference: Validation loss of the check that was last lower by enough to count.
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
    reference: float = math.inf
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
        images: What :func:`as_images` gives.
        sampler: Where episodes come from.
    """

    images: Tensor
    sampler: EpisodeSampler

    def task(self, index: int) -> Task:
        """The task of an index, always the same one."""
        return as_task(self.images, self.sampler.episode(index))


def as_images(images: Image8, device: torch.device | None = None) -> Tensor:
    """Prepared scans uint8 [N, S, S] as a tensor [N, 1, S, S], moved once, to where they are learned from."""
    return torch.from_numpy(images[:, np.newaxis]).to(device or find_device())


def as_task(images: Tensor, episode: Episode) -> Task:
    """An episode as tensors, on the device of the scans."""
    device = images.device
    ways, shots = episode.support.shape
    labels = torch.arange(ways, device=device)
    classes = torch.tensor(episode.classes, device=device)
    queries = episode.query.shape[1]
    return Task(
        support=images[torch.from_numpy(episode.support.ravel()).to(device)],
        support_labels=labels.repeat_interleave(shots),
        query=images[torch.from_numpy(episode.query.ravel()).to(device)],
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
    that was never stopped does. The state lies in CPU memory, so that it can go on from there on another device.

    Args:
        net: The network, on the device of the tasks.
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
    optimizer, scheduler = _set_up(net, config, state)
    started, losses = time.monotonic() - state.seconds, []
    while state.iteration < config.iterations and not (config.stop_after and state.stale >= config.stop_after):
        optimizer.zero_grad(set_to_none=True)
        losses.append(_backward(net, method, tasks, config.tasks, (seed, state.iteration)))
        optimizer.step()
        state.iteration += 1
        if state.iteration % config.check_every == 0 or state.iteration == config.iterations:
            before, state.seconds = state.seconds, time.monotonic() - started
            said = {"seconds": f"{state.seconds - before:.3f}", RATE: repr(optimizer.param_groups[0]["lr"])}
            figures = _check(net, method, validation, state.iteration)
            _note(state, figures["val/loss"], net, config.min_gain)
            numbers = {"train/loss": float(np.mean(losses)), **figures}
            state.rows.append({"epoch": str(state.iteration - 1), **said, **{k: repr(v) for k, v in numbers.items()}})
            losses = []
            scheduler.step(figures["val/loss"])
            state.current = _kept(net)
            state.optimizer, state.scheduler = optimizer.state_dict(), scheduler.state_dict()
            if follow is not None:
                follow(state)
    net.load_state_dict(state.weights)
    net.eval()
    return state


def _set_up(
    net: nn.Module, config: MetaConfig, state: State
) -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.ReduceLROnPlateau]:
    """Optimiser and schedule, and with the network where a state left them; copied to the network's device."""
    if state.current:
        net.load_state_dict(state.current)
    optimizer = torch.optim.Adam(net.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=config.factor, patience=config.patience)
    if state.optimizer:
        optimizer.load_state_dict(state.optimizer)
        scheduler.load_state_dict(state.scheduler)
    if math.isinf(state.reference):
        state.reference = state.best  # version 0.3 had none
    return optimizer, scheduler


def _kept(net: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().to("cpu", copy=True) for k, v in net.state_dict().items()}


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


def _check(net: nn.Module, method: Method, validation: Sequence[Task], iteration: int) -> dict[str, float]:
    """Loss and accuracy on the validation tasks."""
    net.eval()
    weights = dict(net.named_parameters())
    losses, hits = [], []
    for task in validation:
        scores = method.scores(net, weights, task).detach()
        losses.append(float(F.cross_entropy(scores, task.query_labels)))
        hits.append(float((scores.argmax(1) == task.query_labels).double().mean()))
    loss = float(np.mean(losses))
    _finite(loss, "validation loss", iteration)
    return {"val/loss": loss, "val/accuracy": float(np.mean(hits))}


def _note(state: State, loss: float, net: nn.Module, min_gain: float) -> None:
    """Keep the weights if they are the best so far, and count the checks that gained too little."""
    if loss < state.best:
        state.best, state.best_iteration, state.weights = loss, state.iteration, _kept(net)
    # What is lower by a hair alone would keep a flat curve going for ever.
    state.stale += 1
    if loss < state.reference * (1 - min_gain):
        state.reference, state.stale = loss, 0
