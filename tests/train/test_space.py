from __future__ import annotations

import math
import string
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebrain.errors import UsageError
from edgebrain.train.config import Recipe, load_recipe, parse_recipe, recipe_tree, search_space, with_values
from edgebrain.train.recipe_text import recipe_text
from edgebrain.train.space import Choices, Range

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def space(*sets: str) -> dict[str, Range | Choices]:
    return search_space(load_recipe("edge", [f"search.{item}" for item in sets]))


def test_a_recipe_without_the_table_has_nothing_to_search() -> None:
    assert search_space(load_recipe("edge")) == {}


def test_ranges_and_choices() -> None:
    found = space(
        "optimizer.lr={low=1e-4, high=1e-2, log=true}",
        "model.dropout={low=0, high=1, step=0.25}",
        "trainer.batch_size={low=8, high=64, step=8}",
        "model.widths={choices=[[8, 16], [16, 32]]}",
    )
    assert found["optimizer.lr"] == Range(1e-4, 1e-2, log=True)
    assert found["model.dropout"] == Range(0.0, 1.0, step=0.25)
    assert isinstance(found["model.dropout"].ends()[0], float)
    assert found["trainer.batch_size"] == Range(8, 64, step=8)
    assert found["model.widths"] == Choices(([8, 16], [16, 32]))


def test_keys_may_be_one_word_in_quotes() -> None:
    tree = recipe_tree(load_recipe("edge")) | {"search": {"optimizer.lr": {"low": 0.1, "high": 0.2}}}
    assert search_space(parse_recipe(tree, "mine")) == {"optimizer.lr": Range(0.1, 0.2)}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("optimzer.lr={low=1, high=2}", "no key 'optimzer'. Did you mean 'optimizer'"),
        ("trainer.batch_sze={choices=[1, 2]}", "no key 'batch_sze'. Did you mean 'batch_size'"),
        ("optimizer.lr.x={low=1, high=2}", "one value, not a table"),
        ("optimizer.lr=3", r"Give \{ low = A"),
        ("optimizer.lr={low=1, hih=2}", "hih"),
        ("optimizer.lr={low=2, high=1}", "low must be below high"),
        ("optimizer.lr={low=1, high=inf}", "low must be below high, and both finite"),
        ("optimizer.lr={low=-1, high=1}", "optimizer.lr"),
        ("optimizer.lr={low=0, high=1, log=true}", "log needs low above 0"),
        ("optimizer.lr={low=1, high=2, step=0}", "step"),
        ("model.dropout={low=0, high=1.5}", r"model\.dropout.*<= 1"),
        ("trainer.batch_size={low=8, high=64.5}", "whole numbers"),
        ("trainer.batch_size={low=1, high=64}", ">= 2"),
        ("optimizer={low=1, high=2}", "it is a table"),
        ("optimizer.name={low=1, high=2}", "not a number"),
        ("optimizer.name={choices=['adam', 'sdg']}", "sdg"),
        ("optimizer.name={choices=['adam']}", "at least two different"),
        ("optimizer.name={choices=['adam', 'adam']}", "at least two different"),
        ("data.labels={choices=[['a', 'b'], ['a', 'c']]}", "cannot change it"),
        ("name={choices=['a', 'b']}", "cannot change it"),
    ],
)
def test_what_makes_no_sense_is_refused(item: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        space(item)
    assert "search" in str(caught.value)


def test_values_are_put_into_a_recipe_and_the_table_goes() -> None:
    recipe = load_recipe("edge", ["search.optimizer.lr={low=1e-4, high=1e-2}"])
    changed = with_values(recipe, {"optimizer.lr": 5e-3, "model.widths": [8, 16]}, "a trial")
    assert (changed.optimizer.lr, changed.model.widths, changed.search) == (5e-3, (8, 16), {})
    assert with_values(recipe, {}, "a trial") == load_recipe("edge")
    with pytest.raises(UsageError, match=r"a trial.*dropout"):
        with_values(recipe, {"model.dropout": 2.0}, "a trial")


def again(recipe: Recipe, *comments: str) -> Recipe:
    return parse_recipe(tomllib.loads(recipe_text(recipe, comments)), "again")


def test_a_recipe_as_text_is_the_same_recipe() -> None:
    recipe = load_recipe("edge", ["search.optimizer.lr={low=1e-4, high=1e-2, log=true}", "optimizer.lr=1e-05"])
    assert again(recipe) == recipe
    text = recipe_text(recipe, ("a study\nname = 'no key'",))
    assert text.startswith("# a study name = 'no key'\n")
    assert parse_recipe(tomllib.loads(text), "again") == recipe


@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    number=st.floats(min_value=1e-300, allow_infinity=False),
    key=st.text(string.printable, min_size=1, max_size=8),
)
def test_any_words_and_numbers_survive(text: str, number: float, key: str) -> None:
    recipe = msgspec.structs.replace(load_recipe("edge"), description=text)
    tree: dict[str, Any] = recipe_tree(recipe)
    tree["optimizer"]["lr"] = number
    back = again(parse_recipe(tree, "given"), key)
    assert back.description == text
    assert math.isclose(back.optimizer.lr, number, rel_tol=0)
