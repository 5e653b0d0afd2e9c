"""A small trained model and drawn data with splits: an export in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import pytest

torch = pytest.importorskip("torch", reason="the extra 'export' brings torch")

from edgebrain.labelled import Sample  # noqa: E402 - after the skip
from edgebrain.phantom import PhantomSpec, draw_phantom  # noqa: E402
from edgebrain.train.config import EdgeConfig, Recipe  # noqa: E402
from edgebrain.train.data import digest  # noqa: E402
from edgebrain.train.models import TrainedModel, build, load_model, save_model  # noqa: E402
from edgebrain.types import InputSpec  # noqa: E402

LABELS = ("glioma", "meningioma", "no_tumor", "pituitary")
COUNTS = {"train": 6, "val": 3, "test": 3}


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory, samples: list[Sample]) -> Path:
    """A saved network that was never trained, but has every part of a trained one, batch statistics included."""
    recipe = Recipe(
        name="small",
        description="A model for tests",
        system="edgebrain",
        architecture="edge",
        input=InputSpec(width=64, height=64),
        model=EdgeConfig(stem=8, widths=(8, 16), blocks=(2, 1)),
    )
    torch.manual_seed(3)
    net = build(recipe)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.3, 0.3)
        net.head.weight.mul_(8)  # or every probability is 1/4, and every comparison of them vacuous
        net.train()
        net(torch.randint(0, 256, (32, 1, 64, 64), dtype=torch.uint8))
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    facts = {
        "parameters": sum(p.numel() for p in net.parameters()),
        "code_version": "0",
        "data_sha256": digest(samples),
    }
    save_model(path, net.state_dict(), recipe, facts)
    return path


@pytest.fixture
def model_of(trained: TrainedModel, tmp_path: Path) -> Callable[[Sequence[Sample]], Path]:
    """Saves the small model as one that was trained with other samples."""

    def save(chosen: Sequence[Sample]) -> Path:
        path = tmp_path / "run" / "model.safetensors"
        path.parent.mkdir()
        save_model(path, trained.net.state_dict(), trained.recipe, {**trained.facts, "data_sha256": digest(chosen)})
        return path

    return save


@pytest.fixture(scope="session")
def trained(small_model: Path) -> TrainedModel:
    return load_model(small_model)


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Drawn scans in three splits; the label says nothing about the picture."""
    folder = tmp_path_factory.mktemp("data")
    found: list[Sample] = []
    for split, count in COUNTS.items():
        for label in LABELS:
            for _ in range(count):
                seed = len(found)
                path = folder / f"{seed}.png"
                cv2.imwrite(str(path), draw_phantom(PhantomSpec(seed=seed, side=96, t2_like=seed % 2 == 0)))
                found.append(Sample(str(path), label, "drawn", f"g{seed}", split))
    return found
