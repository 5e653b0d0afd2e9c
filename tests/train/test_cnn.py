from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgebrain.errors import TrainingError
from edgebrain.train.cnn import PlainCnn
from edgebrain.train.config import load_recipe
from edgebrain.train.models import build, load_model, parameter_counts, save_model

pytestmark = pytest.mark.usefixtures("one_thread")


def made(name: str, *sets: str) -> PlainCnn:
    torch.manual_seed(0)
    net = build(load_recipe(name, list(sets)))
    assert isinstance(net, PlainCnn)
    return net


def small(name: str, *sets: str) -> PlainCnn:
    return made(name, "input.width=32", "input.height=48", *sets)


def scans(count: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 1, 48, 32), np.uint8))


def test_the_network_of_system_d_has_exactly_its_parameters() -> None:
    """Layer by layer as the system lists them; Keras counts running statistics as parameters that do not learn."""
    with torch.device("meta"):
        net = made("cnn-tuned")
    sizes = [
        sum(p.numel() for p in m.parameters()) + sum(b.numel() for n, b in m.named_buffers() if n.startswith("running"))
        for m in net.modules()
        if isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm1d)
    ]
    assert sizes == [160, 4_640, 18_496, 3_211_328, 256, 1_040, 64, 68]
    statistics = sum(b.numel() for name, b in net.named_buffers() if "running" in name)
    assert parameter_counts(net) == (3_235_892, 3_235_892)
    assert statistics == 160
    assert sum(sizes) == 3_236_052


def test_the_networks_of_system_a_have_the_layers_that_it_states() -> None:
    with torch.device("meta"):
        three, four = made("cnn3-binary"), made("cnn4-binary")
    for net, filters, flat in ((three, [32, 64, 64], 50_176), (four, [32, 64, 64, 64], 12_544)):
        assert [m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)] == filters
        dense = [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]
        assert dense == [(flat, 64), (64, 2)]
        assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)][-1] == 0.5
    assert parameter_counts(three)[1] == 320 + 18_496 + 36_928 + 50_176 * 64 + 64 + 130


@pytest.mark.parametrize("name", ["cnn3-binary", "cnn4-binary", "cnn-tuned"])
def test_outputs_and_their_meaning(name: str) -> None:
    net = small(name).eval()
    with torch.no_grad():
        out = net(scans(3))
        assert torch.equal(net(scans(3).float()).logits, out.logits)
        assert torch.equal(net.deployed()(scans(3)).logits, out.logits)
        assert torch.equal(net.head(out.embedding), out.logits)
    assert out.logits.shape == (3, len(load_recipe(name).data.labels))
    assert (out.cam, out.outlier) == (None, None)
    assert {out.logits.dtype, out.embedding.dtype} == {torch.float32}


def test_every_part_of_the_network_learns() -> None:
    net = small("cnn-tuned").train()
    nn.functional.cross_entropy(net(scans(4)).logits, torch.tensor([0, 1, 2, 3])).backward()  # type: ignore[no-untyped-call]
    silent = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert silent == []


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["cnn.filters=[8, 8]"], "cnn3 cannot have 2 convolutions"),
        (["architecture=cnn-tuned", "cnn.filters=[]"], "cnn-tuned cannot have 0 convolutions"),
        (["input.width=7"], "does not fit 3 poolings"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(sets: list[str], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        build(load_recipe("cnn3-binary", sets))


def test_a_trained_model_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    recipe = load_recipe("cnn-tuned", ["input.width=32", "input.height=48"])
    torch.manual_seed(3)
    net = build(recipe).eval()
    save_model(path, net.state_dict(), recipe, {})
    loaded = load_model(path)
    assert isinstance(loaded.net, PlainCnn)
    with torch.no_grad():
        assert torch.equal(loaded.net(scans(2)).logits, net(scans(2)).logits)
