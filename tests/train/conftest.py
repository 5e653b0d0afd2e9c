"""Phantoms in class folders, and a recipe that trains on them in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import typer

from edgebrain.labelled import Sample, write_samples
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.train.cli import mount
from edgebrain.train.config import Recipe, load_recipe

KINDS = {"glioma": "hemisphere", "meningioma": "edge", "no_tumor": "none", "pituitary": "base"}
SPLITS = ("train", "train", "train", "train", "val", "val", "test", "test")

TINY = (
    "input.width=64",
    "input.height=64",
    "data.canvas=72",
    "model.stem=8",
    "model.widths=[8, 16]",
    "model.blocks=[1, 1]",
    "trainer.batch_size=8",
    "trainer.epochs=3",
    "trainer.precision=32-true",
    "trainer.workers=0",
)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sample, ...]:
    """32 drawings: 16 to train on, 8 each to validate and test, labelled by the kind of lesion."""
    root = tmp_path_factory.mktemp("phantoms")
    samples = []
    for k, (label, lesion) in enumerate(KINDS.items()):
        (root / label).mkdir()
        for i, split in enumerate(SPLITS):
            path = root / label / f"{i}.png"
            spec = PhantomSpec(seed=100 * k + i, lesion=lesion, side=96, t2_like=i % 2 == 0)
            assert cv2.imwrite(str(path), draw_phantom(spec))
            samples.append(Sample(str(path), label, source="phantoms", group=f"{label}{i}", split=split))
    return tuple(samples)


@pytest.fixture
def tiny_sets() -> tuple[str, ...]:
    """The ``--set`` values that make a recipe tiny."""
    return TINY


@pytest.fixture
def tiny() -> Recipe:
    """The default recipe, made tiny."""
    return load_recipe("edge", list(TINY))


@pytest.fixture
def manifest(phantoms: tuple[Sample, ...], tmp_path: Path) -> Path:
    """The phantoms as a manifest with splits."""
    write_samples(tmp_path / "splits.csv", phantoms)
    return tmp_path / "splits.csv"


@pytest.fixture
def call() -> Callable[..., int]:
    """Runs the commands of this half as the program does."""
    app = typer.Typer(rich_markup_mode=None)
    mount(app)

    def run(*arguments: object) -> int:
        code = app([str(argument) for argument in arguments], standalone_mode=False)
        assert isinstance(code, int)
        return code

    return run
