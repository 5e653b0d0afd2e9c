"""The choice of a device, and that everything follows it: on devices that compute nothing, but refuse to be mixed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from edgebrain.train import checkpoint, meta_loop
from edgebrain.train.accelerator import device_for, find_device, say_device
from edgebrain.train.config import MetaConfig, load_recipe
from edgebrain.train.episodes import EpisodeSampler, pool_of
from edgebrain.train.heads import batched_inner_loop
from edgebrain.train.maml import FineTuning, Maml, Method, Prototypical, head_names
from edgebrain.train.meta_loop import State, Tasks, as_images, meta_train
from edgebrain.train.models import build

TARGETS = np.repeat([0, 1], 8).astype(np.intp)
RECIPE = load_recipe(
    "maml-glioma-meningioma", ["input.width=16", "input.height=16", "cnn.filters=[4,4,4]", "cnn.dense=[8]"]
)


def test_a_gpu_is_taken_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_for(0) == torch.device("cpu")
    assert device_for(1) == device_for(4) == torch.device("cuda", 0)
    for there, count, wanted in ((False, 2, "cpu"), (True, 0, "cpu"), (True, 2, "cuda:0")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert find_device() == torch.device(wanted)


def test_what_is_computed_on_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    say_device()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    say_device()
    assert capsys.readouterr().err == "computing on the CPU; torch finds no GPU\ncomputing on GPU 0\n"


def built(device: torch.device) -> torch.nn.Module:
    with device:
        return build(RECIPE)


def tasks(device: torch.device) -> Tasks:
    images = np.random.default_rng(0).integers(0, 255, (16, 16, 16), np.uint8)
    sampler = EpisodeSampler(pool_of(TARGETS), np.arange(16), [(0, 1)], shots=2, queries=2, seed=0)
    return Tasks(as_images(images, device), sampler)


def methods(net: torch.nn.Module) -> dict[str, Method]:
    head = head_names(net)
    orders: dict[str, Method] = {order: Maml(order, 0.1, 2, 2, head) for order in ("second", "first", "anil")}
    return {**orders, "prototypical": Prototypical(), "fine-tuning": FineTuning(0.1, 2, head)}


@pytest.fixture
def elsewhere() -> Iterator[torch.device]:
    """A device whose tensors have shapes and gradients, but no numbers; to mix it with the CPU is an error."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield torch.device("meta")


@pytest.mark.parametrize("name", ["second", "first", "anil", "prototypical", "fine-tuning"])
def test_every_method_learns_and_answers_where_the_scans_are(elsewhere: torch.device, name: str) -> None:
    net = built(elsewhere)
    task = tasks(elsewhere).task(0)
    assert {value.device for value in task if isinstance(value, torch.Tensor)} == {elsewhere}
    method, weights = methods(net)[name], dict(net.named_parameters())
    loss = method.loss(net, weights, task)
    assert loss.device == elsewhere
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in weights.values() if p.grad is not None]
    assert gradients
    assert {gradient.device for gradient in gradients} == {elsewhere}
    assert method.scores(net, weights, task).device == elsewhere


def test_what_lies_elsewhere_is_noticed(elsewhere: torch.device) -> None:
    # The check of the check: a task on the CPU does not pass with a network elsewhere.
    net = built(elsewhere)
    with pytest.raises(RuntimeError, match="device"):
        Prototypical().loss(net, dict(net.named_parameters()), tasks(torch.device("cpu")).task(0))


def test_the_inner_loop_of_heads_stays_where_its_features_are(elsewhere: torch.device) -> None:
    features, targets = torch.zeros(3, 4, 5, device=elsewhere), torch.zeros(3, 4, dtype=torch.long, device=elsewhere)
    weight = torch.zeros(2, 5, device=elsewhere, requires_grad=True)
    moved = batched_inner_loop(features, targets, weight, torch.zeros(2, device=elsewhere), 1.0, steps=2)
    assert {one.device for one in moved} == {elsewhere}


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")  # there are no numbers to take over there
def test_a_state_goes_on_elsewhere(tmp_path: Path) -> None:
    here, there = torch.device("cpu"), torch.device("meta")
    meta = MetaConfig(order="first", iterations=2, check_every=1, inner_steps=1, test_steps=1, tasks=1)
    net, one = build(RECIPE), tasks(here)
    state = meta_train(net, methods(net)["first"], one, [one.task(0)], meta, seed=0)
    assert {value.device for value in (*state.weights.values(), *state.current.values())} == {here}
    checkpoint.save(tmp_path / "state", asdict(state))
    kept = State(**checkpoint.load(tmp_path / "state"))

    optimizer, _ = meta_loop._set_up(built(there), meta, kept)
    assert {value["exp_avg"].device for value in optimizer.state.values()} == {there}
    for weight in optimizer.param_groups[0]["params"]:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert {int(value["step"]) for value in optimizer.state.values()} == {3}
