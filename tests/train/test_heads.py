"""The inner loop of meta-training and the one of the device are the same; and a start can be learned through it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812 - its usual name

from edgebrain.inner import Start, inner_loop
from edgebrain.train.episodes import EpisodeSampler, Indices, pool_of
from edgebrain.train.heads import HeadConfig, batched_inner_loop, meta_learn, standardise
from edgebrain.train.judging import head_solver, judge
from edgebrain.types import Float64


@given(
    seed=st.integers(0, 2**32 - 1),
    ways=st.integers(2, 5),
    extra=st.integers(0, 20),
    steps=st.integers(0, 40),
    lr=st.floats(0.01, 5.0),
)
def test_numpy_takes_the_steps_that_torch_takes(seed: int, ways: int, extra: int, steps: int, lr: float) -> None:
    rng = np.random.default_rng(seed)
    targets = np.concatenate([np.arange(ways), rng.integers(0, ways, extra)]).astype(np.intp)
    features = rng.normal(size=(len(targets), 8))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    weight, bias = rng.normal(size=(ways, 8)), rng.normal(size=ways)
    found = inner_loop(features, targets, Start(ways, lr, steps, weight, bias))
    wide = [torch.from_numpy(x) for x in (features[None], weight, bias)]
    told = batched_inner_loop(wide[0], torch.from_numpy(targets[None]), wide[1], wide[2], lr, steps=steps)
    for numpy_, torch_ in zip(found, told, strict=True):
        assert np.abs(numpy_ - torch_[0].numpy()).max() <= 1e-9
    # What torch does in float32, as training may, is the same to 1e-5.
    low = [x.float() for x in wide]
    single = batched_inner_loop(low[0], torch.from_numpy(targets[None]), low[1], low[2], lr, steps=steps)
    assert np.abs(found[0] - single[0][0].numpy()).max() <= 1e-5 * max(1.0, float(np.abs(found[0]).max()))


def test_the_written_out_gradient_is_the_one_of_the_loss() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    targets = torch.tensor([0, 0, 0, 0, 1, 2])
    weight = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    counts = torch.bincount(targets, minlength=3).double()
    # Classes count alike, however many scans each has.
    loss = F.cross_entropy(features @ weight.T + bias, targets, weight=1 / counts)
    gradients = torch.autograd.grad(loss, [weight, bias])
    moved = batched_inner_loop(features[None], targets[None], weight, bias, 0.5, steps=1)
    for before, after, gradient in zip((weight, bias), moved, gradients, strict=True):
        assert torch.allclose(before - 0.5 * gradient, after[0], rtol=0, atol=1e-14)


def test_the_gradient_through_the_steps_is_the_finite_difference() -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(1, 6, 3, generator=generator, dtype=torch.float64)
    targets = torch.tensor([[0, 0, 0, 1, 1, 1]])
    bias = torch.zeros(2, dtype=torch.float64)

    def outer(weight: torch.Tensor) -> torch.Tensor:
        moved = batched_inner_loop(features, targets, weight, bias, 0.7, steps=4)
        return moved[0].square().sum() + moved[1].sum()

    weight = torch.randn(2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(outer, (weight,), atol=1e-8)


def blobs() -> tuple[Float64, Indices, Indices]:
    """Two classes that differ in one dimension of twenty; two rows a group."""
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1], 300).astype(np.intp)
    embedding = rng.normal(size=(600, 20))
    embedding[:, 0] += np.where(targets == 1, 2.0, -2.0)
    return embedding, targets, (np.arange(600) // 2).astype(np.intp)


def test_a_learned_start_beats_starting_from_nothing() -> None:
    embedding, targets, groups = blobs()
    base = standardise(embedding, 2)
    features = base.features(embedding)
    rows = np.arange(600)
    parts = [rows[(rows // 2) % 3 == part] for part in range(3)]
    train, val, test = (
        EpisodeSampler(pool_of(targets, part), groups, [(0, 1)], shots=1, queries=5, seed=0) for part in parts
    )
    start = meta_learn(features, train, val, HeadConfig(iterations=100, tasks=8, meta_lr=0.1), seed=0)
    learned = judge(head_solver(features, start), test, 60).hits.mean()
    nothing = judge(head_solver(features, Start(2, 1.0, 20, base.weight, base.bias)), test, 60).hits.mean()
    assert start.lr > 0
    assert learned > 0.9
    assert learned > nothing + 0.1


def test_features_have_length_one() -> None:
    embedding, _, _ = blobs()
    features = standardise(embedding, 2).features(embedding)
    assert np.linalg.norm(features, axis=1) == pytest.approx(np.ones(600))
