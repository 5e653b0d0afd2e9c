"""The recipe's network, meta-trained in three ways on what a protocol allows."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import torch
from torch import nn

from .accelerator import find_device
from .data import PreparedSet
from .few_shot import UNSEEN, Protocol, groups_of
from .few_shot_work import Plan, Work
from .judging import Solver, judge
from .maml import FineTuning, Method, Prototypical, check_network, head_names
from .meta_fit import method_of, solver
from .meta_loop import State, Tasks, as_images, meta_train
from .meta_progress import Course
from .models import TrainedModel, build

MAML, PROTOTYPICAL, FINE_TUNING = "maml", "prototypical", "fine-tuning"
METHODS = (MAML, PROTOTYPICAL, FINE_TUNING)
FINE_TUNING_RATES = (0.003, 0.01, 0.03, 0.1)
"""Tried on validation episodes; the best one is used, or the baseline would be a straw man.

It takes as many steps as MAML does (``meta.test_steps``): on a device both would cost the same."""
BASELINE_LR = 0.001
"""Learning rate of both baselines in meta-training, that of Snell et al.; ``meta.lr`` is of MAML alone.

Twice as much, system A's, can leave a prototypical network at chance."""
_CHOOSING = 20
"""Validation episodes that choose."""


class Networks:
    """Meta-trained networks of one test.

    Args:
        plan: What is run.
        prepared: The scans.
        given: A model that needs no training for groups that were never seen.
        work: Keeps every meta-training.
    """

    def __init__(self, plan: Plan, prepared: PreparedSet, given: TrainedModel | None, work: Work) -> None:
        self.plan = plan
        self.groups = groups_of(prepared.samples)
        self.images = as_images(prepared.images)
        self.given = given
        self.work = work
        self._nets: dict[tuple[str, str], nn.Module] = {}
        self._chosen: dict[tuple[str, int], Solver] = {}

    def is_given(self, protocol: Protocol, method: str) -> bool:
        """Whether a network needs no training here."""
        return self.given is not None and method == MAML and protocol.training == UNSEEN

    def train(self, protocol: Protocol, method: str, course: Course) -> None:
        """Meta-train a network, or go on where an earlier run was stopped."""
        meta, seed, name = self.plan.recipe.meta, self.plan.recipe.seed, protocol.training
        earlier = self.work.state(name, method)
        course.begin(earlier.iteration if earlier is not None else 0)
        net = self._fresh(protocol)
        train, val = (
            Tasks(self.images, protocol.sampler(part, self.groups, shots=meta.support, queries=meta.query, seed=seed))
            for part in ("train", "val")
        )
        validation = [val.task(i) for i in range(meta.check_tasks)]

        def keep(now: State) -> None:
            self.work.keep(name, method, now)
            course.show(now)

        if method != MAML:
            meta = msgspec.structs.replace(meta, lr=BASELINE_LR)
        how = self._method(net, method, FINE_TUNING_RATES[1])
        meta_train(net, how, train, validation, meta, seed=seed, state=earlier, follow=keep)
        self._nets[name, method] = net

    def solver(self, protocol: Protocol, method: str, shots: int) -> Solver:
        """A network that was trained, as something that solves episodes."""
        if self.is_given(protocol, method):
            assert self.given is not None
            net = self.given.net.to(find_device())
            return solver(net, method_of(self.given.recipe.meta, net), self.images)
        net_ = self._nets[protocol.training, method]
        if method != FINE_TUNING:
            return solver(net_, self._method(net_, method), self.images)
        place = (protocol.training, shots)
        if place not in self._chosen:
            tries = [solver(net_, self._method(net_, method, lr), self.images) for lr in FINE_TUNING_RATES]
            self._chosen[place] = self._best(protocol, tries, shots)
        return self._chosen[place]

    def _method(self, net: nn.Module, method: str, lr: float = 0.0) -> Method:
        if method == MAML:
            return method_of(self.plan.recipe.meta, net)
        if method == PROTOTYPICAL:
            return Prototypical()
        return FineTuning(lr, self.plan.recipe.meta.test_steps, head_names(net))

    def _best(self, protocol: Protocol, tries: Sequence[Solver], shots: int) -> Solver:
        val = protocol.sampler("val", self.groups, shots=shots, queries=self.plan.queries, seed=self.plan.recipe.seed)
        return max(tries, key=lambda one: float(judge(one, val, _CHOOSING).hits.mean()))

    def _fresh(self, protocol: Protocol) -> nn.Module:
        """A fresh network with an output for every class of meta-training."""
        recipe = self.plan.recipe
        outputs = max(max(task) for task in protocol.train_tasks) + 1
        data = msgspec.structs.replace(recipe.data, labels=protocol.classes[:outputs])
        torch.manual_seed(recipe.seed)
        net = build(msgspec.structs.replace(recipe, data=data))
        check_network(net)
        return net.to(find_device())
