from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgebrain.errors import MissingExtra, TrainingError
from edgebrain.train import lite
from edgebrain.train.config import load_recipe
from edgebrain.train.lite import WEIGHTS_PACKAGE, LiteNet, SamePadConv
from edgebrain.train.models import build, fresh, load_model, save_model
from edgebrain.train.shapes import LiteConfig

pytestmark = pytest.mark.usefixtures("one_thread")


def scans(count: int, side: int = 64) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 1, side, side), np.uint8))


@pytest.fixture(scope="module")
def net() -> LiteNet:
    torch.manual_seed(0)
    return LiteNet(4).eval().requires_grad_(requires_grad=False)


def test_outputs_have_the_shapes_and_types_of_the_edge_network(net: LiteNet) -> None:
    out = net(scans(3))
    assert [tuple(t.shape) for t in out[:3]] == [(3, 4), (3, 1280), (3, 4, 2, 2)]
    assert {t.dtype for t in out[:3]} == {torch.float32}
    assert out.outlier is None


def test_logits_are_the_mean_of_the_activation_map_and_floats_are_as_good_as_bytes(net: LiteNet) -> None:
    out = net(scans(2))
    torch.testing.assert_close(out.logits, out.cam.mean(dim=(2, 3)))
    torch.testing.assert_close(net(scans(2).float()).logits, out.logits, atol=0, rtol=0)


def test_the_network_for_export_gives_the_same_numbers(net: LiteNet) -> None:
    torch.testing.assert_close(net.deployed()(scans(2)).logits, net(scans(2)).logits)


@pytest.mark.parametrize(("side", "stride", "kernel"), [(8, 2, 3), (7, 2, 3), (8, 2, 5), (9, 1, 5), (8, 1, 3)])
def test_padding_is_that_of_tensorflow(side: int, stride: int, kernel: int) -> None:
    conv = SamePadConv(1, 1, kernel, stride, bias=False)
    torch.nn.init.ones_(conv.weight)
    found = conv(torch.ones(1, 1, side, side))[0, 0]
    steps = -(-side // stride)
    # Of an odd pixel of padding, the end gets it: the first window starts floor(padding / 2) before the image.
    before = max((steps - 1) * stride + kernel - side, 0) // 2
    starts = [k * stride - before for k in range(steps)]
    covered = torch.tensor([float(min(s + kernel, side) - max(s, 0)) for s in starts])
    torch.testing.assert_close(found, covered[:, None] * covered[None])


@pytest.mark.parametrize(("frozen", "learning"), [(0, 0), (1, 1), (3, 3), (8, 8)])
def test_as_many_stages_are_frozen_as_asked_for(frozen: int, learning: int) -> None:
    made = LiteNet(4, LiteConfig(frozen=frozen))
    parts = [made.stem, *made.stages]
    fixed = [not any(p.requires_grad for p in part.parameters()) for part in parts]
    assert fixed == [True] * learning + [False] * (8 - learning)
    assert all(p.requires_grad for p in (*made.last.parameters(), *made.head.parameters()))


@pytest.mark.parametrize("call", ["fresh", "train", "eval and train"])
def test_frozen_stages_keep_weights_and_statistics_in_training(call: str) -> None:
    torch.manual_seed(0)
    made = LiteNet(4, LiteConfig(frozen=3))
    if call == "train":
        made.train()
    elif call == "eval and train":
        made.eval().train()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in made.parameters() if p.requires_grad], lr=0.1)
    made(scans(4)).logits.square().sum().backward()
    optimizer.step()
    fixed = ("stem.", "stages.0.", "stages.1.")
    for name, value in made.state_dict().items():
        same = torch.equal(value, before[name])
        if name.startswith(fixed):
            assert same, name
        elif "running" in name or name == "head.weight":
            assert not same, name


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_a_recipe_with_outliers_has_an_output_for_them(share: float) -> None:
    found = build(load_recipe("teacher", [f"data.outliers={share}"])).eval()(scans(2)).outlier
    assert (found is None) == (share == 0)
    assert found is None or found.shape == (2,)


def test_a_model_whose_first_convolution_took_three_channels_is_read(tmp_path: Path) -> None:
    recipe = load_recipe("edge-lite", ["lite.blocks=[1]", "lite.features=8", "lite.pretrained=false"])
    made = build(recipe).eval()
    weights = made.state_dict()
    weights["stem.0.weight"] = weights["stem.0.weight"].expand(-1, 3, -1, -1) / 3
    save_model(tmp_path / "model.safetensors", weights, recipe, {})
    read = load_model(tmp_path / "model.safetensors").net
    torch.testing.assert_close(read(scans(2)).logits, made(scans(2)).logits)


CUT = LiteConfig(blocks=(1, 2, 1), features=24, frozen=2)


def test_a_cut_network_has_the_first_stages_of_the_whole_one(net: LiteNet) -> None:
    cut = LiteNet(4, CUT)
    whole = {name: value.shape for name, value in net.state_dict().items()}
    kept = {name: value.shape for name, value in cut.state_dict().items() if name.startswith(("stem.", "stages."))}
    assert kept.items() <= whole.items()
    assert {name.split(".")[1] + "." + name.split(".")[2] for name in kept if name.startswith("stages.")} == {
        "0.0",
        "1.0",
        "1.1",
        "2.0",
    }
    out = cut.eval()(scans(3))
    assert [tuple(t.shape) for t in out[:3]] == [(3, 4), (3, 24), (3, 4, 8, 8)]


def hide(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    find = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> Any:
        return found if name == WEIGHTS_PACKAGE else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, None)
    with pytest.raises(MissingExtra, match=rf"'{WEIGHTS_PACKAGE}'.*edgebrain\[train\]"):
        fresh(load_recipe("teacher"))
    fresh(load_recipe("teacher", ["lite.pretrained=false"]))


@pytest.mark.parametrize("content", [None, b"", b"other weights"])
def test_an_unknown_file_of_weights_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "__init__.py").touch()
    if content is not None:
        (tmp_path / "models" / "weights.pth").write_bytes(content)
    hide(monkeypatch, importlib.util.spec_from_file_location(WEIGHTS_PACKAGE, tmp_path / "__init__.py"))
    with pytest.raises(TrainingError, match="not the ones that this version knows"):
        LiteNet(4).load_published()


@pytest.mark.skipif(
    importlib.util.find_spec(WEIGHTS_PACKAGE) is None, reason="the package with the weights is not installed"
)
def test_published_weights_fill_everything_but_the_head() -> None:
    torch.manual_seed(0)
    made = LiteNet(4)
    with torch.no_grad():
        for name, value in made.state_dict().items():
            if not name.startswith("head."):
                value.fill_(-77)
    head = made.head.weight.clone()
    made.load_published()
    filled = {name: value for name, value in made.state_dict().items() if not name.startswith("head.")}
    assert all(bool((value != -77).all()) for value in filled.values())
    assert torch.equal(made.head.weight, head)
    published = [value for name, value in lite._published_weights().items() if not name.startswith("_fc.")]
    assert [tuple(v.shape) for v in filled.values()][1:] == [tuple(v.shape) for v in published][1:]
    assert all(bool((value >= 0).all()) for name, value in filled.items() if name.endswith("running_var"))


@pytest.mark.skipif(
    importlib.util.find_spec(WEIGHTS_PACKAGE) is None, reason="the package with the weights is not installed"
)
def test_a_cut_network_gets_the_weights_of_the_stages_it_has() -> None:
    whole, cut = LiteNet(4), LiteNet(4, CUT)
    untouched = cut.state_dict()["last.0.weight"].clone()
    whole.load_published()
    cut.load_published()
    theirs = whole.state_dict()
    for name, value in cut.state_dict().items():
        if name.startswith(("stem.", "stages.")):
            assert torch.equal(value, theirs[name]), name
    assert torch.equal(cut.state_dict()["last.0.weight"], untouched)


@pytest.mark.skipif(
    importlib.util.find_spec(WEIGHTS_PACKAGE) is None, reason="the package with the weights is not installed"
)
def test_one_grey_channel_is_what_three_equal_ones_were() -> None:
    made = LiteNet(4)
    made.load_published()
    published = next(iter(lite._published_weights().values()))
    grey = torch.randn(2, 1, 16, 16)
    padded = torch.nn.functional.pad(grey.expand(-1, 3, -1, -1), (0, 1, 0, 1))
    torch.testing.assert_close(
        made.stem[0](grey), torch.nn.functional.conv2d(padded, published, stride=2), atol=1e-5, rtol=1e-5
    )
