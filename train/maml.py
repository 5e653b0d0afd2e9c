"""Model-agnostic meta-learning with explicit weights, and the two methods it has to beat.

The inner loop takes a few gradient steps on the support set, starting from weights that every task shares; the outer
loop moves those weights so that the query loss after the steps is low (Finn, Abbeel & Levine, "Model-Agnostic
Meta-Learning", ICML 2017).

* ``second``: the outer gradient goes through the steps, second derivatives included.
* ``first``: the steps are taken for constants; the outer gradient is the one at the adapted weights.
* ``anil``: as ``second``, but only the head moves in the inner loop (Raghu et al., "Rapid Learning or Feature Reuse?",
  ICLR 2020).

Prototypical networks (Snell et al., NeurIPS 2017) judge by the distance to each class's mean embedding; plain
fine-tuning trains on the classes as usual and then takes gradient steps on the support set with a new head.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812 - its usual name

from edgebrain.errors import TrainingError

Weights = Mapping[str, Tensor]


class Task(NamedTuple):
    """An episode as tensors.

    Attributes:
        support: uint8 (or float with the same values) [ways * shots, 1, H, W].
        support_labels: int64 [ways * shots], places in the episode.
        query: The same for [ways * queries].
        query_labels: int64 [ways * queries].
        query_classes: int64 [ways * queries], the classes themselves, for methods that train on classes.
        ways: Number of classes in the episode.
    """

    support: Tensor
    support_labels: Tensor
    query: Tensor
    query_labels: Tensor
    query_classes: Tensor
    ways: int


def adapt(
    net: nn.Module,
    weights: Weights,
    task: Task,
    *,
    lr: float,
    steps: int,
    second_order: bool,
    inner: Collection[str] | None = None,
) -> dict[str, Tensor]:
    """Take gradient steps on the support set, on a copy of the weights.

    Args:
        net: The network; its own weights are not used.
        weights: Where to start; left as they are.
        task: The task; its query is not looked at.
        lr: Size of a step.
        steps: Number of steps; 0 gives the weights back.
        second_order: Keep what is needed to differentiate through the steps.
        inner: Names of the weights that move; all if None.

    Returns:
        The fast weights.
    """
    fast = dict(weights)
    names = [name for name in fast if inner is None or name in inner]
    for _ in range(steps):
        loss = F.cross_entropy(logits_of(net, fast, task.support, task.ways), task.support_labels)
        gradients = torch.autograd.grad(loss, [fast[name] for name in names], create_graph=second_order)
        for name, gradient in zip(names, gradients, strict=True):
            fast[name] = fast[name] - lr * gradient
    return fast


def logits_of(net: nn.Module, weights: Weights, images: Tensor, ways: int) -> Tensor:
    """Logits [N, ways] of a network with given weights; outputs beyond the episode's classes are not used."""
    logits: Tensor = functional_call(net, dict(weights), (images,)).logits
    return logits[:, :ways]


def embedding_of(net: nn.Module, weights: Weights, images: Tensor) -> Tensor:
    """Embedding [N, D] of a network with given weights; its logits where it has no embedding."""
    output: Any = functional_call(net, dict(weights), (images,))
    embedding: Tensor | None = getattr(output, "embedding", None)
    return output.logits if embedding is None else embedding


def head_names(net: nn.Module) -> frozenset[str]:
    """Names of the weights of the layer that makes the logits: what moves in ANIL's inner loop."""
    known = getattr(net, "head", None)
    if isinstance(known, nn.Module):
        return frozenset(f"head.{name}" for name, _ in known.named_parameters())
    last = [name for name, module in net.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1:]
    return frozenset(f"{name}.{key}" for name in last for key, _ in net.get_submodule(name).named_parameters())


def check_network(net: nn.Module) -> None:
    """Refuse what the inner loop cannot be right for.

    Raises:
        TrainingError: The network normalises by batch: support and query would leak into each other through it.
    """
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules()):  # noqa: SLF001 - no other base
        raise TrainingError(
            "Batch normalisation lets the scans of an episode see each other, so its networks cannot be meta-learned.",
            remedy="Use the architecture cnn3 or cnn4, or a head on the embedding of a trained network.",
        )


class Method(Protocol):
    """A way to learn from few scans."""

    def loss(self, net: nn.Module, weights: Weights, task: Task) -> Tensor:
        """What meta-training lowers, on one task."""
        ...

    def scores(self, net: nn.Module, weights: Weights, task: Task) -> Tensor:
        """Logits [Q, ways] of the query scans after learning from the support."""
        ...


class Maml:
    """MAML in one of its three orders.

    Args:
        order: ``second``, ``first`` or ``anil``.
        lr: Inner learning rate.
        steps: Inner steps in meta-training.
        test_steps: Inner steps when a task is solved for its own sake.
        head: Names of the head's weights, for ``anil``.
    """

    def __init__(self, order: str, lr: float, steps: int, test_steps: int, head: frozenset[str]) -> None:
        self.second_order = order != "first"
        self.inner = head if order == "anil" else None
        self.lr = lr
        self.steps = steps
        self.test_steps = test_steps

    def loss(self, net: nn.Module, weights: Weights, task: Task) -> Tensor:
        """Query loss after the inner steps."""
        fast = adapt(net, weights, task, lr=self.lr, steps=self.steps, second_order=self.second_order, inner=self.inner)
        return F.cross_entropy(logits_of(net, fast, task.query, task.ways), task.query_labels)

    def scores(self, net: nn.Module, weights: Weights, task: Task) -> Tensor:
        """Logits after the inner steps."""
        fast = adapt(net, weights, task, lr=self.lr, steps=self.test_steps, second_order=False, inner=self.inner)
        return logits_of(net, fast, task.query, task.ways)


class Prototypical:
    """Prototypical networks: minus the mean squared distance to each class's mean embedding."""

    def loss(self, net: nn.Module, weights: Weights, task: Task) -> Tensor:
        """Cross-entropy of the scores."""
        return F.cross_entropy(self.scores(net, weights, task), task.query_labels)

    def scores(self, net: nn.Module, weights: Weights, task: Task) -> Tensor:
        """Minus the squared distances."""
        support = embedding_of(net, weights, task.support)
        query = embedding_of(net, weights, task.query)
        # A product instead of a choice of rows, whose number a GPU would have to tell the CPU first.
        members = F.one_hot(task.support_labels, task.ways).to(support.dtype)
        prototypes = members.T @ support / members.sum(0)[:, None]
        return -(query[:, None] - prototypes[None]).square().sum(2)


class FineTuning:
    """Plain training on the classes, then gradient steps on the support set with a new head.

    Args:
        lr: Learning rate of the steps.
        steps: Number of steps.
        head: Names of the head's weights.
    """

    def __init__(self, lr: float, steps: int, head: frozenset[str]) -> None:
        self.lr = lr
        self.steps = steps
        self.head = head

    def loss(self, net: nn.Module, weights: Weights, task: Task) -> Tensor:
        """Cross-entropy over the classes that there are."""
        logits: Tensor = functional_call(net, dict(weights), (task.query,)).logits
        return F.cross_entropy(logits, task.query_classes)

    def scores(self, net: nn.Module, weights: Weights, task: Task) -> Tensor:
        """Logits after fine-tuning everything, the head from zero."""
        start = {n: torch.zeros_like(w).requires_grad_() if n in self.head else w for n, w in weights.items()}
        fast = adapt(net, start, task, lr=self.lr, steps=self.steps, second_order=False)
        return logits_of(net, fast, task.query, task.ways)
