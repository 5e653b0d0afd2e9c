"""Identities that meta-learning must keep; in float64, on a network of a few hundred weights."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from edgebrain.errors import TrainingError
from edgebrain.train.maml import (
    FineTuning,
    Maml,
    Prototypical,
    Task,
    adapt,
    check_network,
    embedding_of,
    head_names,
    logits_of,
)

LR = 0.3


class Output(NamedTuple):
    logits: Tensor
    embedding: Tensor


class Net(nn.Module):
    """Two smooth layers: finite differences need a second derivative."""

    def __init__(self, *, linear: bool = False) -> None:
        super().__init__()
        self.body: nn.Module = nn.Identity() if linear else nn.Linear(16, 5)
        self.head = nn.Linear(16 if linear else 5, 2)

    def forward(self, image: Tensor) -> Output:
        embedding = torch.tanh(self.body(image.flatten(1)))
        return Output(self.head(embedding), embedding)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(3)
    return Net().double()


@pytest.fixture
def task() -> Task:
    torch.manual_seed(4)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    support, query = torch.randn(6, 1, 4, 4).double(), torch.randn(6, 1, 4, 4).double()
    return Task(support + labels[:, None, None, None], labels, query + labels[:, None, None, None], labels, labels, 2)


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    return dict(net.named_parameters())


def maml(net: nn.Module, order: str, steps: int = 3, lr: float = LR) -> Maml:
    return Maml(order, lr, steps, steps, head_names(net))


def meta_gradient(net: nn.Module, method: Maml, task: Task) -> dict[str, Tensor]:
    weights = weights_of(net)
    loss = method.loss(net, weights, task)
    return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))


def same(a: dict[str, Tensor], b: dict[str, Tensor], tolerance: float = 1e-12) -> bool:
    return all(torch.allclose(a[k], b[k], rtol=0, atol=tolerance) for k in a)


@pytest.mark.parametrize("order", ["second", "first", "anil"])
def test_without_inner_steps_nothing_is_adapted(net: Net, task: Task, order: str) -> None:
    weights = weights_of(net)
    method = maml(net, order, steps=0)
    assert torch.equal(method.scores(net, weights, task), net(task.query).logits)
    plain = torch.autograd.grad(F.cross_entropy(net(task.query).logits, task.query_labels), list(weights.values()))
    assert same(meta_gradient(net, method, task), dict(zip(weights, plain, strict=True)))


def test_one_step_is_a_step_of_gradient_descent(net: Net, task: Task) -> None:
    fast = adapt(net, weights_of(net), task, lr=LR, steps=1, second_order=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    F.cross_entropy(net(task.support).logits, task.support_labels).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert same(fast, weights_of(net))


def test_adapting_leaves_the_network_alone(net: Net, task: Task) -> None:
    before = {k: v.detach().clone() for k, v in weights_of(net).items()}
    maml(net, "second").scores(net, weights_of(net), task)
    assert same(before, weights_of(net), 0.0)


def test_second_order_gradient_is_the_finite_difference(net: Net, task: Task) -> None:
    method = maml(net, "second")
    gradient = meta_gradient(net, method, task)
    for name, weight in weights_of(net).items():
        flat, step = weight.data.view(-1), 1e-5
        for index in range(0, flat.numel(), 7):
            value = float(flat[index])
            ends = []
            for side in (1, -1):
                flat[index] = value + side * step
                ends.append(method.loss(net, weights_of(net), task).item())
            flat[index] = value
            assert float(gradient[name].view(-1)[index]) == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-8)


def test_first_order_gradient_is_the_one_at_the_adapted_weights(net: Net, task: Task) -> None:
    fast = adapt(net, weights_of(net), task, lr=LR, steps=3, second_order=False)
    leaves = {k: v.detach().requires_grad_() for k, v in fast.items()}
    loss = F.cross_entropy(logits_of(net, leaves, task.query, 2), task.query_labels)
    there = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    assert same(meta_gradient(net, maml(net, "first"), task), there)


def test_without_a_step_size_the_orders_agree(net: Net, task: Task) -> None:
    first, second, anil = (meta_gradient(net, maml(net, order, lr=0.0), task) for order in ("first", "second", "anil"))
    assert same(first, second, 0.0)
    assert same(anil, second, 0.0)


@pytest.mark.parametrize("steps", [1, 4])
def test_orders_follow_the_closed_form_of_a_linear_model_with_a_squared_loss(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Support loss |A w - a|^2 / 2: a step is w <- w - lr (H w - A'a), H = A'A. At the adapted weights v the gradient
    # is g = B'(B v - b). First order is g (Finn et al. 2017, section 5.2; Nichol et al. 2018, section 5), second order
    # (1 - lr H)^steps g.
    torch.manual_seed(5)
    linear = nn.Linear(3, 1, bias=False).double()
    support, query, targets = torch.randn(5, 3).double(), torch.randn(4, 3).double(), torch.randn(9).double()
    line = Task(support, targets[:5], query, targets[5:], targets[5:], 1)
    module = nn.Module()
    module.add_module("head", linear)
    module.forward = lambda images: Output(linear(images), images)
    monkeypatch.setattr(
        "edgebrain.train.maml.F.cross_entropy", lambda logits, truth: (logits[:, 0] - truth).square().sum() / 2
    )
    lr, hessian = 0.05, support.T @ support
    adapted = linear.weight.detach()[0]
    for _ in range(steps):
        adapted = adapted - lr * (hessian @ adapted - support.T @ targets[:5])
    there = query.T @ (query @ adapted - targets[5:])
    through = torch.linalg.matrix_power(torch.eye(3).double() - lr * hessian, steps) @ there
    for order, wanted in (("first", there), ("second", through)):
        method = Maml(order, lr, steps, steps, frozenset())
        (found,) = torch.autograd.grad(method.loss(module, weights_of(module), line), [linear.weight])
        assert torch.allclose(found[0], wanted, rtol=0, atol=1e-12)


def test_first_and_second_order_differ_by_the_hessian_alone(net: Net, task: Task) -> None:
    def gap(lr: float) -> float:
        first, second = (meta_gradient(net, maml(net, o, 1, lr), task) for o in ("first", "second"))
        return max(float((first[k] - second[k]).abs().max()) for k in first)

    assert gap(0.3) > 1e-4
    # One step: the difference is lr times a Hessian-vector product, so it goes away in proportion to lr.
    assert gap(1e-6) == pytest.approx(gap(1e-5) / 10, rel=1e-3)


def test_orders_agree_where_the_loss_has_no_curvature(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    # A linear network under a linear loss: the inner gradient does not depend on the weights.
    linear = Net(linear=True).double()
    monkeypatch.setattr(
        "edgebrain.train.maml.F.cross_entropy",
        lambda logits, labels: -(logits.gather(1, labels[:, None])).mean() + logits[:, 0].mean() * 0.5,
    )
    first, second = (meta_gradient(linear, maml(linear, order), task) for order in ("first", "second"))
    assert same(first, second)


def test_anil_moves_the_head_alone_but_learns_everything(net: Net, task: Task) -> None:
    weights = weights_of(net)
    method = maml(net, "anil")
    fast = adapt(net, weights, task, lr=LR, steps=3, second_order=False, inner=method.inner)
    moved = {name for name in weights if not torch.equal(weights[name], fast[name])}
    assert moved == {"head.weight", "head.bias"}
    assert all(float(g.abs().max()) > 0 for g in meta_gradient(net, method, task).values())


def test_anil_over_all_layers_is_maml(net: Net, task: Task) -> None:
    everything = Maml("anil", LR, 3, 3, frozenset(weights_of(net)))
    assert same(meta_gradient(net, everything, task), meta_gradient(net, maml(net, "second"), task), 0.0)


def test_the_order_of_support_and_query_does_not_matter(net: Net, task: Task) -> None:
    order = torch.tensor([3, 5, 0, 2, 4, 1])
    mixed = Task(task.support[order], task.support_labels[order], *task[2:])
    method, weights = maml(net, "second"), weights_of(net)
    assert torch.allclose(method.scores(net, weights, task), method.scores(net, weights, mixed), atol=1e-12)
    turned = task._replace(query=task.query[order])
    assert torch.allclose(
        method.scores(net, weights, task)[order], method.scores(net, weights, turned), rtol=0, atol=1e-12
    )


def test_swapping_the_classes_swaps_the_answers_of_a_symmetric_head(net: Net, task: Task) -> None:
    net.head.weight.data[1] = net.head.weight.data[0]
    net.head.bias.data.zero_()
    swapped = task._replace(support_labels=1 - task.support_labels)
    method, weights = maml(net, "second"), weights_of(net)
    there = method.scores(net, weights, swapped)
    assert torch.allclose(method.scores(net, weights, task).flip(1), there, atol=1e-12)


def test_prototypes_are_the_nearest_mean(net: Net, task: Task) -> None:
    weights = weights_of(net)
    support, query = (embedding_of(net, weights, x) for x in (task.support, task.query))
    means = torch.stack([support[:3].mean(0), support[3:].mean(0)])
    nearest = torch.cdist(query, means).argmin(1)
    assert torch.equal(Prototypical().scores(net, weights, task).argmax(1), nearest)


def test_fine_tuning_starts_from_a_head_of_zeros(net: Net, task: Task) -> None:
    method = FineTuning(LR, 0, head_names(net))
    assert torch.equal(method.scores(net, weights_of(net), task), torch.zeros(6, 2).double())
    learned = FineTuning(LR, 20, head_names(net)).scores(net, weights_of(net), task)
    assert float((learned.argmax(1) == task.query_labels).double().mean()) > 0.5


def test_batch_normalisation_is_refused() -> None:
    with pytest.raises(TrainingError, match="Batch normalisation"):
        check_network(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
