"""Every architecture of the recipes gives a graph that computes what the network computes.

The cheap ones of each kind run always. The rest differ from them in depth and width, take seconds each, and are marked
``slow``; `make test` runs them too, because a new release of the exporter can break one and not the other.
"""

from __future__ import annotations

from typing import NamedTuple, get_args

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the extra 'export' brings onnx")
torch = pytest.importorskip("torch", reason="the extra 'export' brings torch")

from edgebrain.errors import ExportError  # noqa: E402 - after the skip
from edgebrain.export.to_onnx import check_parity, run_onnx, to_onnx  # noqa: E402
from edgebrain.train.config import Recipe, load_recipe  # noqa: E402
from edgebrain.train.models import build  # noqa: E402
from edgebrain.train.recipe import Architecture  # noqa: E402
from edgebrain.types import Image8  # noqa: E402


class Case(NamedTuple):
    """An architecture at the smallest side that it takes, and what its graph gives."""

    architecture: str
    side: int
    features: int
    cam: tuple[int, int] | None
    slow: bool = True


CASES = (
    Case("cnn3", 32, 64, None, slow=False),
    Case("cnn4", 32, 64, None, slow=False),
    Case("cnn-tuned", 32, 16, None, slow=False),
    Case("resnet18", 64, 512, (2, 2), slow=False),
    Case("resnet50", 32, 2048, (1, 1)),
    Case("resnet101", 32, 2048, (1, 1)),
    Case("vgg16", 32, 512, (1, 1)),
    Case("vgg19", 32, 512, (1, 1)),
    Case("inception-v3", 75, 2048, (1, 1)),
    Case("densenet121", 32, 1024, (1, 1)),
    Case("xception", 71, 2048, (3, 3)),
    Case("efficientnet-b0", 32, 1280, (1, 1)),
    Case("vit", 32, 768, None),
)
RECIPES = {"cnn3": "cnn3-binary", "cnn4": "cnn4-binary", "cnn-tuned": "cnn-tuned"}
ELSEWHERE = {"edge", "lite0"}
"""Exported by other tests, or a teacher that is never exported."""


pytestmark = pytest.mark.usefixtures("one_thread")


def recipe_of(case: Case) -> Recipe:
    name = RECIPES.get(case.architecture, "resnet50-finetune")
    sizes = [f"input.width={case.side}", f"input.height={case.side}"]
    return load_recipe(name, [f"architecture={case.architecture}", "transfer.weights=none", *sizes])


def images(count: int, side: int) -> Image8:
    return np.random.default_rng(count).integers(0, 256, (count, 1, side, side), np.uint8)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.architecture, marks=[pytest.mark.slow] if case.slow else []) for case in CASES],
)
def test_the_graph_computes_what_the_network_computes(case: Case) -> None:
    recipe = recipe_of(case)
    torch.manual_seed(0)
    net = build(recipe)
    with torch.no_grad():
        net.train()(torch.from_numpy(images(4, case.side)))  # statistics that are not zeros and ones
    graph = to_onnx(net.eval().deployed(), recipe.input, {"id": recipe.name})  # compares batches of one and three
    found = run_onnx(graph, images(5, case.side))
    assert check_parity(net, graph, images(5, case.side)) < 1e-4
    labels = len(recipe.data.labels)
    shapes: dict[str, tuple[int, ...]] = {"logits": (5, labels), "embedding": (5, case.features)}
    if case.cam is not None:
        shapes["cam"] = (5, labels, *case.cam)
    assert {name: value.shape for name, value in found.items()} == shapes
    # Different scans get different answers, or the comparison would say nothing.
    assert np.ptp(found["logits"], axis=0).max() > 0
    with torch.no_grad():
        next(p for name, p in net.named_parameters() if name == "head.bias").add_(1)
    with pytest.raises(ExportError, match="differs from the network"):
        check_parity(net, graph, images(2, case.side))


def test_every_architecture_is_looked_at() -> None:
    named = {name for part in get_args(Architecture) for name in (get_args(part) or (part,))}
    assert {case.architecture for case in CASES} | ELSEWHERE == named
