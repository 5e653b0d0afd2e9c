from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from edgebrain.errors import TrainingError
from edgebrain.train import checkpoint
from edgebrain.train.config import EdgeConfig, Recipe, load_recipe
from edgebrain.train.edge import EdgeNet, PerImageNorm
from edgebrain.train.models import build, fresh, load_model, save_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def net() -> EdgeNet:
    """A small network whose normalisation has seen something, as a trained one's has."""
    torch.manual_seed(0)
    made = EdgeNet(EdgeConfig(stem=8, widths=(8, 16), blocks=(2, 1)), outlier=True)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
            torch.nn.init.normal_(module.running_mean, 0, 0.1)  # type: ignore[arg-type]
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return made.eval().requires_grad_(requires_grad=False)


def scans(count: int, side: int = 64, low: int = 0, high: int = 256) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(low, high, (count, 1, side, side), np.uint8))


def test_the_default_network_has_1_2_million_parameters() -> None:
    count = sum(p.numel() for p in build(load_recipe("edge")).parameters())
    assert round(count / 1e6, 1) == 1.2


def test_outputs_have_the_shapes_and_types_of_the_graph(net: EdgeNet) -> None:
    out = net(scans(3))
    assert [tuple(t.shape) for t in out] == [(3, 4), (3, 16), (3, 4, 8, 8), (3,)]
    assert {t.dtype for t in out} == {torch.float32}


def test_logits_are_the_mean_of_the_activation_map(net: EdgeNet) -> None:
    out = net(scans(3))
    torch.testing.assert_close(out.logits, out.cam.mean(dim=(2, 3)))


def test_the_head_is_a_linear_layer_on_the_embedding(net: EdgeNet) -> None:
    out = net(scans(3))
    weights = net.head.weight[:, :, 0, 0]
    assert net.head.bias is not None
    torch.testing.assert_close(out.embedding @ weights.T + net.head.bias, out.logits, atol=1e-5, rtol=1e-5)


def test_the_outlier_output_is_a_linear_map_of_the_embedding(net: EdgeNet) -> None:
    out = net(scans(3))
    assert net.outlier is not None
    torch.testing.assert_close(
        out.embedding @ net.outlier.weight[0] + net.outlier.bias, out.outlier, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(("share", "has"), [(0.0, False), (0.1, True)])
def test_only_a_recipe_with_outliers_gets_that_output(share: float, has: bool) -> None:
    net = build(load_recipe("edge", [f"data.outliers={share}"])).eval()
    assert (net(scans(1)).outlier is not None) == has


def test_a_scan_gets_the_same_answer_whatever_it_is_batched_with(net: EdgeNet) -> None:
    batch = scans(5)
    together = net(batch).logits
    alone = torch.cat([net(batch[i : i + 1]).logits for i in range(5)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(net(batch.flip(0)).logits, together.flip(0), atol=1e-5, rtol=1e-5)


def test_brightness_and_contrast_do_not_matter(net: EdgeNet) -> None:
    scan = scans(2, low=0, high=100)
    plain = net(scan).logits
    spread = float(plain.std())
    for changed in (scan + 50, scan * 2, scan * 2 + 40):
        assert float((net(changed).logits - plain).abs().max()) < 0.02 * spread


def test_numbers_as_float_give_the_same_answer_as_uint8(net: EdgeNet) -> None:
    torch.testing.assert_close(net(scans(2).float()).logits, net(scans(2)).logits, atol=0, rtol=0)


@pytest.mark.parametrize("value", [0, 1, 255])
def test_a_constant_image_is_zeros_and_has_an_answer(net: EdgeNet, value: int) -> None:
    flat = torch.full((1, 1, 64, 64), value, dtype=torch.uint8)
    assert float(PerImageNorm()(flat).abs().max()) < 1e-3
    assert bool(net(flat).logits.isfinite().all())


def test_normalisation_has_mean_0_and_deviation_1_and_ends() -> None:
    x = PerImageNorm()(scans(2))
    torch.testing.assert_close(x.mean(dim=(1, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std(dim=(1, 2, 3)), torch.ones(2), atol=1e-2, rtol=0)
    point = torch.zeros((1, 1, 64, 64), dtype=torch.uint8)
    point[0, 0, 3, 3] = 255
    assert float(PerImageNorm()(point).max()) == 6.0


def test_the_network_for_export_gives_the_same_numbers_without_pooling(net: EdgeNet) -> None:
    images = scans(3)
    deployed = net.deployed()
    for ours, theirs in zip(net(images), deployed(images), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, torch.nn.AvgPool2d) for module in deployed.modules())
    assert any(isinstance(module, torch.nn.AvgPool2d) for module in net.modules())


def test_labels_and_outputs_must_agree() -> None:
    with pytest.raises(TrainingError, match="3 outputs, its data 4 labels"):
        build(load_recipe("edge", ["model.labels=3"]))


@pytest.mark.parametrize("item", ["data.some_tumor=0.1", "augment.lesion=0.1"])
def test_some_tumour_needs_a_label_for_none(item: str) -> None:
    kinds = "data.labels=['glioma', 'meningioma', 'pituitary', 'other']"
    plain = [kinds, "data.some_tumor=0", "augment.lesion=0"]
    build(load_recipe("edge", plain))
    with pytest.raises(TrainingError, match="need the label no_tumor"):
        build(load_recipe("edge", [*plain, item]))


def test_widths_and_blocks_must_agree() -> None:
    with pytest.raises(TrainingError, match="same length"):
        build(load_recipe("edge", ["model.blocks=[1, 1]"]))


@pytest.mark.parametrize("side", [100, 168])
def test_the_input_must_fit_the_stages(side: int) -> None:
    with pytest.raises(TrainingError, match="multiples of 16"):
        build(load_recipe("edge", [f"input.width={side}"]))


def test_a_model_comes_back_from_its_file(tiny: Recipe, tmp_path: Path) -> None:
    net = build(tiny)
    save_model(tmp_path / "m.safetensors", net.state_dict(), tiny, {"seconds": 1.5})
    model = load_model(tmp_path / "m.safetensors")
    assert model.recipe == tiny
    assert model.facts == {"seconds": 1.5}
    torch.testing.assert_close(model.net(scans(2)).logits, net.eval()(scans(2)).logits, atol=0, rtol=0)


def test_a_model_of_the_first_format_comes_back(tiny: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, build(tiny).state_dict(), tiny, {})
    tree = checkpoint.load(path)
    tree["model"] = "edgebrain-model/1"
    del tree["recipe"]["schedule"]
    del tree["recipe"]["input"]["preprocessing"]
    tree["recipe"]["optimizer"]["warmup"] = 0.25
    checkpoint.save(path, tree)
    assert load_model(path).recipe.schedule.warmup == 0.25
    assert load_model(path).recipe.input.preprocessing == 2


def test_what_is_no_model_is_refused(tiny: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    checkpoint.save(path, {"state_dict": {}})
    with pytest.raises(TrainingError, match="not a trained model"):
        load_model(path)
    weights = EdgeNet(EdgeConfig(stem=4, widths=(8, 16), blocks=(1, 1))).state_dict()
    save_model(path, weights, tiny, {})
    with pytest.raises(TrainingError, match="do not fit the recipe"):
        load_model(path)
    checkpoint.save(path, {"model": "edgebrain-model/1", "weights": {}, "recipe": {"new_key": 1}, "facts": {}})
    with pytest.raises(TrainingError, match=r"m\.safetensors: its recipe"):
        load_model(path)


@pytest.fixture
def earlier(tiny_sets: tuple[str, ...], tmp_path: Path) -> Path:
    """A model without an outlier output."""
    recipe = load_recipe("edge-base", list(tiny_sets))
    torch.manual_seed(5)
    save_model(tmp_path / "m.safetensors", build(recipe).state_dict(), recipe, {})
    return tmp_path / "m.safetensors"


def test_a_start_is_taken_over_and_what_it_lacks_stays_random(tiny_sets: tuple[str, ...], earlier: Path) -> None:
    recipe = load_recipe("edge", [*tiny_sets, f"start={earlier}"])
    start = load_model(earlier).net.state_dict()
    torch.manual_seed(6)
    one = fresh(recipe).state_dict()
    other = fresh(recipe).state_dict()
    assert one.keys() - start.keys() == {"outlier.weight", "outlier.bias"}
    for name, weight in start.items():
        assert torch.equal(one[name], weight)
    assert not torch.equal(one["outlier.weight"], other["outlier.weight"])


def test_without_a_start_all_is_random(tiny: Recipe) -> None:
    torch.manual_seed(6)
    assert not torch.equal(fresh(tiny).state_dict()["stem.0.weight"], fresh(tiny).state_dict()["stem.0.weight"])


@pytest.mark.parametrize("item", ["model.stem=16", "model.widths=[8, 24]", "model.blocks=[1, 2]"])
def test_a_start_of_another_shape_is_refused(tiny_sets: tuple[str, ...], earlier: Path, item: str) -> None:
    with pytest.raises(TrainingError, match=r"m\.safetensors does not fit the recipe's network"):
        fresh(load_recipe("edge", [*tiny_sets, item, f"start={earlier}"]))


def test_a_start_that_is_not_there_is_refused(tiny_sets: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read"):
        fresh(load_recipe("edge", [*tiny_sets, f"start={tmp_path / 'gone.safetensors'}"]))
