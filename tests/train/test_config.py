from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebrain.errors import UsageError
from edgebrain.train.config import AugmentConfig, load_recipe, parse_recipe, recipe_names, recipe_tree


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_comes_back_from_plain_types(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert parse_recipe(recipe_tree(recipe), name) == recipe


def test_the_default_model_has_a_recipe() -> None:
    recipe = load_recipe("edge")
    assert recipe.data.labels == ("glioma", "meningioma", "no_tumor", "pituitary")
    assert (recipe.input.width, recipe.input.height) == (160, 160)


@pytest.mark.parametrize(
    ("item", "section", "key", "value"),
    [
        ("trainer.epochs=3", "trainer", "epochs", 3),
        ("trainer.precision=32-true", "trainer", "precision", "32-true"),
        ('trainer.precision="32-true"', "trainer", "precision", "32-true"),
        ("optimizer.lr=1e-3", "optimizer", "lr", 0.001),
        ("optimizer.lr=1", "optimizer", "lr", 1.0),
        ("data.drop_copies=false", "data", "drop_copies", False),
        ("model.widths=[8, 16]", "model", "widths", (8, 16)),
        (" data.labels = ['a', 'b']", "data", "labels", ("a", "b")),
        ("input.width=96", "input", "width", 96),
    ],
)
def test_set_values_have_types(item: str, section: str, key: str, value: Any) -> None:
    got = getattr(getattr(load_recipe("edge", [item]), section), key)
    assert got == value
    assert type(got) is type(value)


def test_a_start_and_a_teacher_come_back_from_plain_types() -> None:
    recipe = load_recipe(
        "edge", ["start=runs/base/model.safetensors", "distill.teacher=runs/teacher/model.safetensors"]
    )
    assert recipe.start == "runs/base/model.safetensors"
    assert recipe.distill.teacher == "runs/teacher/model.safetensors"
    assert parse_recipe(recipe_tree(recipe), "edge") == recipe
    assert (load_recipe("edge").start, load_recipe("edge").distill.teacher) == ("", "")
    two = load_recipe("edge", ['distill.teacher=["a.safetensors", "b.safetensors"]'])
    assert two.distill.teacher == ("a.safetensors", "b.safetensors")
    assert parse_recipe(recipe_tree(two), "edge") == two


def test_set_changes_nothing_else() -> None:
    plain, changed = recipe_tree(load_recipe("edge")), recipe_tree(load_recipe("edge", ["seed=7", "augment.zoom=0.5"]))
    plain["seed"] = 7
    plain["augment"]["zoom"] = 0.5
    assert changed == plain


def test_the_last_set_wins() -> None:
    assert load_recipe("edge", ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("trainer.epoch=3", r"trainer has no key 'epoch'\. Did you mean 'epochs'"),
        ("trainr.epochs=3", r"the recipe has no key 'trainr'\. Did you mean 'trainer'"),
        ("input.widht=3", r"input has no key 'widht'\. Did you mean 'width'"),
        ("trainer.epochs", "expected section.key=value"),
        ("=3", "expected section.key=value"),
        ("trainer.=3", "expected section.key=value"),
        ("trainer.epochs=many", r"Expected `int`, got `str`.*trainer\.epochs"),
        ("trainer.epochs=0", r">= 1.*trainer\.epochs"),
        ("trainer.batch_size=1", r">= 2.*trainer\.batch_size"),
        ("trainer.precision=64", "precision"),
        ("augment.flip=1.5", r"<= 1.*augment\.flip"),
        ("optimizer.lr=0", r"optimizer\.lr"),
        ("seed=-1", "seed"),
        ("trainer=5", r"Expected `object`.*trainer"),
        ("seed.x=5", "seed"),
        ("architecture=edgy", "architecture"),
        ("data.outliers=0.6", r"<= 0\.5.*data\.outliers"),
        ("data.some_tumor=0.5", r"<= 0\.4.*data\.some_tumor"),
        ("lite.frozen=9", r"<= 8.*lite\.frozen"),
        ("data.labels=['a']", "two or more"),
        ("data.labels=['a', 'b', 'a']", "each once"),
        ("input.width=0", r"input\.width is 0, not from 1 to 4096"),
        ("input.height=5000", r"input\.height is 5000"),
        ("data.canvas=4097", r"<= 4096.*data\.canvas"),
        ("name=../mine", "cannot be that of a folder"),
        ("name='a/b'", "cannot be that of a folder"),
        ("name=.hidden", "cannot be that of a folder"),
        ("name=''", "cannot be that of a folder"),
        ("distill.teachr=x", r"distill has no key 'teachr'\. Did you mean 'teacher'"),
    ],
)
def test_wrong_set_items_are_refused(item: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe("edge", [item])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "not valid TOML"),
        ("nam = 'x'", r"has no key 'nam'\. Did you mean 'name'"),
        ("[data]\ncanvass = 3", r"data has no key 'canvass'\. Did you mean 'canvas'"),
        ("[input]\nwdth = 3", r"input has no key 'wdth'\. Did you mean 'width'"),
        ("name = 'x'", "missing required field"),
        ("data = 3\nname = 'x'\ndescription = ''\nsystem = ''\narchitecture = 'edge'", "data"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        load_recipe(str(file))
    assert "mine.toml" in str(caught.value)
    with pytest.raises(UsageError):
        load_recipe(str(file), ["data.canvas=64"])


def test_a_file_of_ones_own_is_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("name = 'mine'\ndescription = 'd'\nsystem = 's'\narchitecture = 'edge'\n[trainer]\nepochs = 2\n")
    recipe = load_recipe(str(file), ["trainer.workers=0"])
    assert (recipe.name, recipe.trainer.epochs, recipe.trainer.workers) == ("mine", 2, 0)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_recipe(str(tmp_path / "gone.toml"))
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_recipe(str(tmp_path / "latin.toml"))


def test_an_unknown_recipe_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"no recipe 'edgee'.*Did you mean 'edge'"):
        load_recipe("edgee")


@given(item=st.text(max_size=40))
def test_any_set_item_is_taken_or_refused_as_usage(item: str) -> None:
    with contextlib.suppress(UsageError):
        load_recipe("edge", [item])


def test_augmentation_calms_down_after_its_share_of_the_epochs() -> None:
    config = AugmentConfig(calm_from=0.6, calm=0.5, curve=0.8, flip=0.5, mixup=0.4, lesion=0.2)
    assert config.at(119, 200) == config
    late = config.at(120, 200)
    assert late.curve == pytest.approx(0.4)
    assert late.mixup == pytest.approx(0.2)
    assert (late.flip, late.lesion) == (config.flip, config.lesion)
    assert AugmentConfig().at(199, 200) == AugmentConfig()
