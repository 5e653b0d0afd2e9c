from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgebrain.errors import MissingExtra, TrainingError
from edgebrain.train.config import PUBLISHED_ARCHITECTURES, Recipe, load_recipe, recipe_names
from edgebrain.train.models import BUILDERS, build, parameter_counts
from edgebrain.train.recipe import Architecture
from edgebrain.train.transfer import PUBLISHED, TransferNet, library_net

# As the libraries publish them, with their heads of 1000 classes (torchvision's weights tables; timm's results).
PUBLISHED_COUNTS = {
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "inception-v3": 27_161_264,
    "densenet121": 7_978_856,
    "xception": 22_855_952,
    "efficientnet-b0": 5_288_548,
    "vit": 86_567_656,
}
# Without their heads, and Inception without its auxiliary classifier.
BODIES = {
    "resnet18": 11_176_512,
    "resnet50": 23_508_032,
    "resnet101": 42_500_160,
    "vgg16": 14_714_688,
    "vgg19": 20_024_384,
    "inception-v3": 21_785_568,
    "densenet121": 6_953_856,
    "xception": 20_806_952,
    "efficientnet-b0": 4_007_548,
    "vit": 85_798_656,
}


pytestmark = pytest.mark.usefixtures("one_thread")


def recipe_of(architecture: str, side: int = 64, *more: str) -> Recipe:
    sizes = (f"input.width={side}", f"input.height={side}")
    return load_recipe("resnet50", [f"architecture={architecture}", "transfer.weights=none", *sizes, *more])


def made(architecture: str, side: int = 64, *more: str) -> TransferNet:
    torch.manual_seed(0)
    net = build(recipe_of(architecture, side, *more))
    assert isinstance(net, TransferNet)
    return net


def scans(count: int, side: int = 64) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 1, side, side), np.uint8))


def test_the_registry_knows_every_architecture_that_a_recipe_can_name() -> None:
    named = {name for part in get_args(Architecture) for name in (get_args(part) or (part,))}
    assert set(BUILDERS) == named
    assert set(PUBLISHED) == set(PUBLISHED_ARCHITECTURES) == set(PUBLISHED_COUNTS)


@pytest.mark.parametrize("architecture", PUBLISHED)
def test_parameters_are_as_published(architecture: str) -> None:
    with torch.device("meta"):
        library = library_net(architecture)
        net = build(recipe_of(architecture, 224))
    assert parameter_counts(library)[1] == PUBLISHED_COUNTS[architecture]
    assert parameter_counts(net)[1] == BODIES[architecture] + 4 * (PUBLISHED[architecture].features + 1)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_builds(name: str) -> None:
    recipe = load_recipe(name)
    with torch.device("meta"):
        learned, every = parameter_counts(build(recipe))
    assert 0 < learned <= every
    if recipe.architecture in PUBLISHED and recipe.transfer.trained == 0:
        assert learned == len(recipe.data.labels) * (PUBLISHED[recipe.architecture].features + 1)
    if recipe.architecture in PUBLISHED and recipe.transfer.trained < 0:
        assert learned == every


@pytest.mark.parametrize("architecture", PUBLISHED)
def test_shapes_of_the_outputs_at_the_size_of_the_recipe(architecture: str) -> None:
    side = 299 if architecture in ("inception-v3", "xception") else 224
    with torch.device("meta"):
        out = build(recipe_of(architecture, side)).eval()(torch.zeros(2, 1, side, side, dtype=torch.uint8))
    features = PUBLISHED[architecture].features
    grid = {"inception-v3": 8, "xception": 10}.get(architecture, 7)
    assert out.logits.shape == (2, 4)
    assert out.embedding.shape == (2, features)
    assert out.outlier is None
    if architecture == "vit":
        assert out.cam is None
    else:
        assert out.cam is not None
        assert out.cam.shape == (2, 4, grid, grid)


@pytest.mark.parametrize("architecture", ["resnet18", "densenet121", "efficientnet-b0"])
def test_the_body_computes_what_the_library_computes(architecture: str) -> None:
    """The library's network, with its own forward function, is the reference."""
    net = made(architecture, 64, "transfer.dropout=0.5").eval()
    library = library_net(architecture).eval()
    weights = {name: value for name, value in library.state_dict().items() if name in net.body.state_dict()}
    net.body.load_state_dict(weights)
    last = [m for m in library.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        net.head.weight.copy_(last.weight[:4, :, None, None])
        assert net.head.bias is not None
        net.head.bias.copy_(last.bias[:4])
        pixels = (scans(2).float() / 255).expand(-1, 3, -1, -1)
        mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        expected = library((pixels - mean) / std)[:, :4]
        torch.testing.assert_close(net(scans(2)).logits, expected, atol=1e-5, rtol=1e-4)


def test_inception_normalises_as_its_published_weights_want() -> None:
    """torchvision does it in two steps: the usual normalisation, then ``transform_input``."""
    with torch.device("meta"):
        net = made("inception-v3", 75)
    assert net.mean.shape == (1, 3, 1, 1)
    from torchvision import models

    library = models.inception_v3(weights=None, init_weights=False, transform_input=True)
    pixels = (scans(1, 75).float() / 255).expand(-1, 3, -1, -1)
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    published = PUBLISHED["inception-v3"]
    ours = (pixels - torch.tensor(published.mean).reshape(1, 3, 1, 1)) / torch.tensor(published.std).reshape(1, 3, 1, 1)
    torch.testing.assert_close(library._transform_input((pixels - mean) / std), ours)


@pytest.mark.parametrize("architecture", ["resnet18", "vgg16", "vit"])
def test_floats_are_as_good_as_bytes_and_the_head_is_linear_in_the_embedding(architecture: str) -> None:
    net = made(architecture, 32).eval()
    with torch.no_grad():
        out = net(scans(2, 32))
        torch.testing.assert_close(net(scans(2, 32).float()).logits, out.logits, atol=0, rtol=0)
        linear = nn.functional.linear(out.embedding, net.head.weight[:, :, 0, 0], net.head.bias)
    torch.testing.assert_close(out.logits, linear)
    if out.cam is not None:
        torch.testing.assert_close(out.cam.mean(dim=(2, 3)), out.logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("trained", [0, 4])
def test_frozen_layers_keep_weights_and_statistics(trained: int) -> None:
    net = made("resnet18", 32, f"transfer.trained={trained}").train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(scans(4, 32)).logits, torch.tensor([0, 1, 2, 3])).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    moved = {
        name.rpartition(".")[0] for name, value in net.state_dict().items() if not torch.equal(value, before[name])
    }
    last = {"body.layer4.1.conv1", "body.layer4.1.bn1", "body.layer4.1.conv2", "body.layer4.1.bn2"}
    assert moved == {"head", *(last if trained else ())}


def test_the_last_ten_layers_with_weights_learn() -> None:
    with torch.device("meta"):
        net = made("vgg19", 224, "transfer.trained=10")
    learning = [name for name, p in net.body.named_parameters() if p.requires_grad and name.endswith("weight")]
    assert len(learning) == 10
    assert learning[-1] == [name for name, _ in net.body.named_parameters() if name.endswith("weight")][-1]


def test_what_a_frozen_part_drops_at_random_stays() -> None:
    net = made("efficientnet-b0", 32, "transfer.trained=0").train()
    with torch.no_grad():
        first, second = net(scans(2, 32)), net(scans(2, 32))
    assert torch.equal(first.embedding, second.embedding)


def test_dropout_before_the_head_acts_in_training_alone() -> None:
    net = made("resnet18", 32, "transfer.trained=0", "transfer.dropout=0.5").train()
    with torch.no_grad():
        assert not torch.equal(net(scans(2, 32)).logits, net(scans(2, 32)).logits)
        net.eval()
        assert torch.equal(net(scans(2, 32)).logits, net(scans(2, 32)).logits)


def test_a_copy_for_export_gives_the_same_and_stays_as_it_is() -> None:
    net = made("resnet18", 32)
    copied = net.deployed()
    assert net.training
    assert not copied.training
    with torch.no_grad():
        expected = net.eval()(scans(1, 32)).logits
        net.head.weight.zero_()
        assert torch.equal(copied(scans(1, 32)).logits, expected)


@pytest.mark.parametrize(
    ("architecture", "width", "height", "message"),
    [
        ("resnet18", 31, 64, "too small"),
        ("inception-v3", 74, 74, "too small"),
        ("xception", 70, 70, "too small"),
        ("vit", 64, 32, "patches"),
        ("vit", 40, 40, "patches"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(architecture: str, width: int, height: int, message: str) -> None:
    sizes = [f"input.width={width}", f"input.height={height}"]
    with torch.device("meta"), pytest.raises(TrainingError, match=message):
        build(load_recipe("resnet50", [f"architecture={architecture}", *sizes]))


@pytest.mark.parametrize("architecture", ["cnn3", "resnet18", "vit"])
def test_an_outlier_output_is_refused(architecture: str) -> None:
    with pytest.raises(TrainingError, match=f"{architecture} network has no outlier output"):
        build(load_recipe("resnet50", [f"architecture={architecture}", "data.outliers=0.1"]))


@pytest.mark.parametrize(("architecture", "module"), [("xception", "timm"), ("resnet18", "torchvision")])
def test_a_missing_library_is_named(architecture: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtra, match=module):
        library_net(architecture)
