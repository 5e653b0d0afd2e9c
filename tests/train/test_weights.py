from __future__ import annotations

import pickle
import re
import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from edgebrain.errors import TrainingError
from edgebrain.train.config import Recipe, load_recipe
from edgebrain.train.models import build, fresh, save_model
from edgebrain.train.transfer import PUBLISHED, TransferNet, library_net
from edgebrain.train.weights import _resized, imagenet_url, load_imagenet, read_weights, start_from

State = dict[str, Tensor]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The loaders' own cache, empty, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))

    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path / "home" / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def published() -> State:
    """A state dict as torchvision publishes that of ResNet18, with other numbers."""
    torch.manual_seed(7)
    return library_net("resnet18").state_dict()


def recipe(weights: object, *more: str) -> Recipe:
    sizes = ("input.width=32", "input.height=32")
    return load_recipe("resnet18-frozen", [*sizes, f"transfer.weights={weights}", *more])


def empty(*more: str) -> TransferNet:
    torch.manual_seed(0)
    net = build(recipe("none", *more))
    assert isinstance(net, TransferNet)
    return net


def taken(net: TransferNet, weights: State) -> bool:
    return all(torch.equal(value, weights[name]) for name, value in net.body.state_dict().items())


def wrapped(prefix: str) -> Callable[[State], Any]:
    return lambda state: {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    "shape",
    [
        wrapped(""),
        wrapped("module."),
        wrapped("model.backbone."),
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": wrapped("module.")(state)},
        lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
        lambda state: {k: v for k, v in state.items() if not k.startswith("fc.")},
        lambda state: {**state, "fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)},
    ],
    ids=["plain", "module", "deep", "nested", "nested module", "old", "headless", "other head"],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_fills_the_body_and_leaves_the_head_random(
    shape: Callable[[State], Any], suffix: str, published: State, tmp_path: Path
) -> None:
    tree = shape(published)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(tree, path)
    else:
        save_file(next((v for v in tree.values() if isinstance(v, dict)), tree), path)
    torch.manual_seed(0)
    net = fresh(recipe(path))
    assert isinstance(net, TransferNet)
    assert taken(net, {**published, **{k: net.body.state_dict()[k] for k in published if "num_batches" in k}})
    assert torch.equal(net.head.weight, empty().head.weight)


def test_a_head_with_the_same_labels_is_taken_over(published: State, tmp_path: Path) -> None:
    head = {"fc.weight": torch.randn(4, 512), "fc.bias": torch.randn(4)}
    torch.save({**published, **head}, tmp_path / "w.pth")
    net = empty()
    start_from(net, str(tmp_path / "w.pth"))
    assert net.head.bias is not None
    assert torch.equal(net.head.weight[:, :, 0, 0], head["fc.weight"])
    assert torch.equal(net.head.bias, head["fc.bias"])


def test_frozen_layers_hold_the_weights_of_the_file(published: State, tmp_path: Path) -> None:
    torch.save(published, tmp_path / "w.pth")
    net = fresh(recipe(tmp_path / "w.pth", "transfer.trained=0"))
    assert isinstance(net, TransferNet)
    assert taken(net, published)
    assert [name for name, p in net.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]


def test_names_of_old_densenet_files_are_understood(tmp_path: Path) -> None:
    state = library_net("densenet121").state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): value for name, value in state.items()}
    assert set(old) != set(state)
    torch.save(old, tmp_path / "old.pth")
    net = fresh(recipe(tmp_path / "old.pth", "architecture=densenet121"))
    assert isinstance(net, TransferNet)
    assert taken(net, state)


def test_positions_of_a_vision_transformer_are_interpolated() -> None:
    name = "encoder.pos_embedding"
    own = {name: torch.zeros(1, 1 + 4, 3)}
    given = {name: torch.cat([torch.full((1, 1, 3), 9.0), torch.full((1, 196, 3), 2.0)], dim=1)}
    resized = _resized(given, own)[name]
    assert resized.shape == (1, 5, 3)
    assert torch.equal(resized[:, 0], torch.full((1, 3), 9.0))
    torch.testing.assert_close(resized[:, 1:], torch.full((1, 4, 3), 2.0))
    assert _resized(own, own) is own


def without(*names: str) -> Callable[[State], State]:
    return lambda state: {k: v for k, v in state.items() if k not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("layer1.0.conv1.weight"), "1 of its tensors .*layer1.0.conv1.weight"),
        (lambda s: {**s, "conv1.weight": torch.zeros(64, 1, 7, 7)}, "another shape, conv1.weight"),
        (lambda s: {**s, "layer5.0.conv1.weight": torch.zeros(1)}, "layer5.0.conv1.weight"),
        (lambda _: {"a": torch.zeros(1)}, "do not fit resnet18"),
    ],
    ids=["missing", "shape", "more", "strange"],
)
def test_weights_of_something_else_are_refused(
    change: Callable[[State], State], message: str, published: State, tmp_path: Path
) -> None:
    torch.save(change(published), tmp_path / "w.pth")
    net = empty()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(TrainingError, match=message):
        start_from(net, str(tmp_path / "w.pth"))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (sys.exit, (99,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read safely|no file of weights"),
        (b"no weights at all", "no file of weights"),
        (b"\x08\x00\x00\x00\x00\x00\x00\x00{broken", "no file of weights"),
        (pickle.dumps(Evil(), 2), "no file of weights"),
    ],
    ids=["empty", "text", "safetensors", "pickle"],
)
def test_files_that_are_no_weights_are_refused_and_never_executed(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(TrainingError, match=message):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("tree", [[1, 2], {"epoch": 3}, {}])
def test_a_file_without_weights_is_refused(tree: Any, tmp_path: Path) -> None:
    torch.save(tree, tmp_path / "w.pth")
    with pytest.raises(TrainingError, match="holds no weights"):
        read_weights(tmp_path / "w.pth")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"w\.pth cannot be read: No such file"):
        read_weights(tmp_path / "w.pth")


def test_a_model_of_edgebrain_is_sent_to_start(tmp_path: Path) -> None:
    net = empty()
    save_model(tmp_path / "model.safetensors", net.state_dict(), recipe("none"), {})
    with pytest.raises(TrainingError, match="--set start="):
        read_weights(tmp_path / "model.safetensors")


def test_none_changes_nothing() -> None:
    torch.manual_seed(0)
    net = fresh(recipe("none"))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), empty().parameters(), strict=True))


@pytest.mark.parametrize("architecture", ["resnet18", "xception"])
def test_imagenet_weights_come_from_the_librarys_cache(
    architecture: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(9)
    state = library_net(architecture).state_dict()
    cache.mkdir(parents=True)
    torch.save(state, cache / imagenet_url(architecture).rpartition("/")[2])
    loaded = load_imagenet(architecture)
    assert all(torch.equal(loaded[name], value) for name, value in state.items())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("architecture", PUBLISHED)
def test_every_published_file_has_an_address_with_its_hash(architecture: str) -> None:
    url = imagenet_url(architecture)
    assert re.fullmatch(r"https://\S+-[0-9a-f]{8,}\.pth", url)


@pytest.mark.parametrize("architecture", ["resnet18", "xception"])
def test_a_failed_download_is_one_clear_line(
    architecture: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TrainingError, match=r"cannot be downloaded .*no network") as caught:
        load_imagenet(architecture)
    url = imagenet_url(architecture)
    assert f"Fetch {url} elsewhere and put it at {cache / url.rpartition('/')[2]}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_a_download_fills_the_network(
    published: State, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def fetch(url: str, target: str, hash_prefix: str | None = None, progress: bool = True) -> None:
        del progress
        asked.append((url, Path(target).parent, hash_prefix))
        torch.save(published, target)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    net = fresh(recipe("imagenet"))
    assert isinstance(net, TransferNet)
    assert taken(net, published)
    assert asked == [(imagenet_url("resnet18"), cache, "f37072fd")]
    assert capsys.readouterr().out == ""  # results go there, and nothing else


@pytest.mark.parametrize("content", [b"", b"half a file"])
def test_a_damaged_file_in_the_cache_is_named(content: bytes, cache: Path) -> None:
    cache.mkdir(parents=True)
    file = cache / imagenet_url("resnet18").rpartition("/")[2]
    file.write_bytes(content)
    with pytest.raises(TrainingError, match="damaged or not the ones published") as caught:
        load_imagenet("resnet18")
    assert str(file) in str(caught.value)
