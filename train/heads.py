"""Meta-learning of a head on the embedding of a trained network: ANIL with everything below the head frozen.

The inner loop is the one that ``edgebrain adapt`` runs (edgebrain/inner.py), written for many tasks at once in torch so
that its start and its step size can be learned through it. The network's answers never change, so embeddings are
computed once and thousands of tasks cost seconds on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from edgebrain.heads import Head
from edgebrain.inner import Start
from edgebrain.types import Float32, Float64

from .accelerator import find_device
from .episodes import Episode, EpisodeSampler


@dataclass(frozen=True)
class HeadConfig:
    """Numbers of the meta-learning of a head.

    Attributes:
        steps: Inner steps.
        lr: Size of an inner step at the start; it is learned.
        meta_lr: Learning rate of the outer loop, Adam.
        weight_decay: Added to the outer gradient.
        iterations: Outer steps, at most.
        tasks: Tasks an outer step.
        check_every: Outer steps between two looks at the validation tasks.
        check_tasks: Validation tasks.
        stop_after: Looks without a lower validation loss after which it stops.
    """

    steps: int = 20
    lr: float = 1.0
    meta_lr: float = 0.05
    weight_decay: float = 1e-5
    iterations: int = 400
    tasks: int = 16
    check_every: int = 20
    check_tasks: int = 100
    stop_after: int = 5


def standardise(embedding: Float32 | Float64, ways: int) -> Head:
    """A head of zeros that knows the mean and the deviation of embeddings [N, D]."""
    wide = embedding.astype(np.float64)
    scale = np.maximum(wide.std(axis=0), 1e-6)
    return Head(wide.mean(axis=0), scale, np.zeros((ways, wide.shape[1])), np.zeros(ways))


def batched_inner_loop(
    features: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, lr: Tensor | float, *, steps: int
) -> tuple[Tensor, Tensor]:
    """The inner loop of many tasks at once, differentiable.

    Args:
        features: [T, N, D].
        targets: int64 [T, N] in 0..K-1.
        weight: [K, D], where every task starts.
        bias: [K].
        lr: Size of a step.
        steps: Number of steps.

    Returns:
        Weights [T, K, D] and biases [T, K].
    """
    tasks, ways = len(features), len(bias)
    truth = F.one_hot(targets, ways).to(features.dtype)
    counts = truth.sum(1, keepdim=True)
    share = (truth / counts.clamp(min=1)).sum(2, keepdim=True) / (counts > 0).sum(2, keepdim=True)
    weights, biases = weight.expand(tasks, -1, -1), bias.expand(tasks, -1)
    for _ in range(steps):
        logits = features @ weights.transpose(1, 2) + biases[:, None]
        error = (logits.softmax(2) - truth) * share
        weights = weights - lr * (error.transpose(1, 2) @ features)
        biases = biases - lr * error.sum(1)
    return weights, biases


def meta_learn(
    features: Float64, train: EpisodeSampler, val: EpisodeSampler, config: HeadConfig, *, seed: int
) -> Start:
    """Learn where the inner loop should start, and how large its steps should be; on a GPU if there is one.

    Args:
        features: float64 [N, D], as :meth:`edgebrain.heads.Head.features` makes them; rows as in the samplers.
        train: Episodes to learn from.
        val: Episodes that choose; of other groups.
        config: Numbers.
        seed: Seed of the first weights.

    Returns:
        The start of the check with the lowest validation loss.
    """
    generator = torch.Generator().manual_seed(seed)
    ways = len(train.tasks[0])
    rows = torch.from_numpy(features).to(find_device())
    first = 0.01 * torch.randn(ways, features.shape[1], generator=generator, dtype=torch.float64)  # alike everywhere
    weight = first.to(rows.device).requires_grad_()
    bias = rows.new_zeros(ways).requires_grad_()
    log_lr = rows.new_tensor(float(np.log(config.lr))).requires_grad_()
    optimizer = torch.optim.Adam([weight, bias, log_lr], lr=config.meta_lr, weight_decay=config.weight_decay)
    watched = [val.episode(i) for i in range(config.check_tasks)]
    best, stale, start = float("inf"), 0, Start(ways, config.lr, config.steps)
    for iteration in range(config.iterations + 1):
        if iteration % config.check_every == 0:
            with torch.no_grad():
                loss = float(_query_loss(rows, watched, weight, bias, log_lr.exp(), steps=config.steps))
            stale += 1
            if loss < best:
                numbers = weight.detach().cpu().numpy().copy(), bias.detach().cpu().numpy().copy()
                best, stale, start = loss, 0, Start(ways, float(log_lr.detach().exp()), config.steps, *numbers)
            if stale >= config.stop_after:
                break
        episodes = [train.episode(iteration * config.tasks + i) for i in range(config.tasks)]
        optimizer.zero_grad()
        _query_loss(rows, episodes, weight, bias, log_lr.exp(), steps=config.steps).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return start


def _query_loss(
    rows: Tensor, episodes: list[Episode], weight: Tensor, bias: Tensor, lr: Tensor, *, steps: int
) -> Tensor:
    support = torch.from_numpy(np.stack([e.support for e in episodes])).to(rows.device)
    query = torch.from_numpy(np.stack([e.query for e in episodes])).to(rows.device)
    tasks, ways, shots = support.shape
    labels = torch.arange(ways, device=rows.device)
    weights, biases = batched_inner_loop(
        rows[support].flatten(1, 2), labels.repeat_interleave(shots).expand(tasks, -1), weight, bias, lr, steps=steps
    )
    logits = rows[query].flatten(1, 2) @ weights.transpose(1, 2) + biases[:, None]
    truth = labels.repeat_interleave(query.shape[2]).repeat(tasks)
    return F.cross_entropy(logits.flatten(0, 1), truth)
