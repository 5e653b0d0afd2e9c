"""Recipes: one validated TOML file a model, torch-free.

A recipe holds every number that training depends on. The command line can override any of them with
``--set section.key=value``; a key that does not exist is refused with the nearest one that does.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from edgebrain.errors import UsageError

from .meta_config import MetaConfig
from .recipe import (
    LARGEST_SIDE,
    PUBLISHED_ARCHITECTURES,
    AugmentConfig,
    DataConfig,
    DistillConfig,
    OptimizerConfig,
    Recipe,
    ScheduleConfig,
    TrainerConfig,
)
from .shapes import CnnConfig, EdgeConfig, LiteConfig, TransferConfig
from .space import Space, flat, key_tree, read_space

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


__all__ = [
    "PUBLISHED_ARCHITECTURES",
    "SPLITS_FILE",
    "AugmentConfig",
    "CnnConfig",
    "DataConfig",
    "DistillConfig",
    "EdgeConfig",
    "LiteConfig",
    "MetaConfig",
    "OptimizerConfig",
    "Recipe",
    "ScheduleConfig",
    "TrainerConfig",
    "TransferConfig",
    "goes_on",
    "kept_recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_names",
    "recipe_tree",
    "search_space",
    "suggest",
    "with_values",
]

SPLITS_FILE = "splits.csv"
"""Name of the manifest in a run folder that says which scans the run was made from, and in which split."""


def recipe_names() -> list[str]:
    """Names of the recipes that come with edgebrain, sorted."""
    folder = resources.files("edgebrain.train") / "recipes"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def goes_on(name: str) -> bool:
    """Whether a recipe that comes with edgebrain goes on from another run: from its weights, or from its answers.

    From nothing, and without a teacher, it is no figure of its own.
    """
    tree = tomllib.loads((resources.files("edgebrain.train") / "recipes" / f"{name}.toml").read_text(encoding="utf-8"))
    return "distill" in tree or "start_share" in tree


def load_recipe(name: str, overrides: list[str] | None = None) -> Recipe:
    """Read and validate a recipe.

    Args:
        name: Name of a recipe that comes with edgebrain, or the path of a TOML file.
        overrides: ``section.key=value`` items; values are TOML, bare words are strings.

    Raises:
        UsageError: There is no such recipe, it is not valid TOML, or a key or value is wrong.
    """
    if name.endswith(".toml"):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"Recipe {name} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"Recipe {name} is not UTF-8 text.") from error
    elif name in recipe_names():
        text = (resources.files("edgebrain.train") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    else:
        known = recipe_names()
        raise UsageError(f"There is no recipe {name!r}.", remedy=suggest(name, known))
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"Recipe {name} is not valid TOML: {error}.") from error
    for item in overrides or []:
        _override(tree, item)
    return parse_recipe(tree, name)


def parse_recipe(tree: dict[str, Any], name: str) -> Recipe:
    """Validate a recipe that was read from TOML, or back from a checkpoint.

    Raises:
        UsageError: A key or value is wrong.
    """
    _check_keys(tree, _known(), f"Recipe {name}", "the recipe")
    try:
        recipe = msgspec.convert(tree, Recipe)
    except msgspec.ValidationError as error:
        raise UsageError(f"Recipe {name}: {error}.") from error
    _check_values(recipe, name)
    for key, entry in search_space(recipe).items():
        for value in entry.ends():
            with_values(recipe, {key: value}, f"{name}, [search] {key}")
    return recipe


def kept_recipe(tree: dict[str, Any], name: str) -> Recipe:
    """The recipe that a model or a checkpoint keeps.

    Until version 0.3 it did not say which preprocessing it had, which was the second then; the default is another now.

    Raises:
        UsageError: A key or value is wrong.
    """
    given = tree.get("input")
    return parse_recipe({**tree, "input": {"preprocessing": 2, **(given if isinstance(given, dict) else {})}}, name)


def _check_values(recipe: Recipe, name: str) -> None:
    """Refuse what no type says."""
    if not _NAME.fullmatch(recipe.name):
        raise UsageError(f"Recipe {name}: its name {recipe.name!r} cannot be that of a folder.")
    if len(set(recipe.data.labels)) < max(_FEWEST_LABELS, len(recipe.data.labels)):
        raise UsageError(f"Recipe {name}: data.labels must be two or more, each once.")
    for key, side in (("width", recipe.input.width), ("height", recipe.input.height)):
        if not 1 <= side <= LARGEST_SIDE:
            raise UsageError(f"Recipe {name}: input.{key} is {side}, not from 1 to {LARGEST_SIDE}.")


_FEWEST_LABELS = 2
_NAME = re.compile(r"[^./\\:\x00-\x1f][^/\\:\x00-\x1f]*")


def search_space(recipe: Recipe) -> Space:
    """What a search over the recipe may change.

    Raises:
        UsageError: The recipe's ``[search]`` table makes no sense.
    """
    known = _known()
    for key, _ in flat(recipe.search):
        _check_keys(key_tree(key, 0), known, f"Recipe {recipe.name}, [search]", "the recipe")
    return read_space(recipe.search, known, f"Recipe {recipe.name}")


def with_values(recipe: Recipe, values: Mapping[str, Any], what: str) -> Recipe:
    """The recipe with other values, and nothing to search for.

    Args:
        recipe: A recipe.
        values: New values by key path, as a search draws them.
        what: Who changes it, for messages.

    Raises:
        UsageError: A value does not fit.
    """
    tree = recipe_tree(recipe) | {"search": {}}
    for key, value in values.items():
        _merge(tree, key_tree(key, value))
    return parse_recipe(tree, what)


def recipe_tree(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain JSON-able types, the inverse of :func:`parse_recipe`."""
    tree: dict[str, Any] = json.loads(msgspec.json.encode(recipe))
    tree["input"] = dataclasses.asdict(recipe.input)  # msgspec leaves out defaults of a dataclass that it has read
    return tree


def _override(tree: dict[str, Any], item: str) -> None:
    path, separator, raw = item.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not separator or not all(keys):
        raise UsageError(f"--set {item}: expected section.key=value.")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw.strip()
    change: dict[str, Any] = {keys[-1]: value}
    for key in reversed(keys[:-1]):
        change = {key: change}
    _check_keys(change, _known(), f"--set {item}", "the recipe")
    _merge(tree, change)


def _known() -> dict[str, Any]:
    """A recipe with every key there is."""
    known: dict[str, Any] = msgspec.to_builtins(Recipe("", "", "", "edge"))
    return known


def _merge(tree: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        if not isinstance(value, dict):
            tree[key] = value
        elif isinstance(below := tree.setdefault(key, {}), dict):  # else it is refused when values are checked
            _merge(below, value)


def _check_keys(tree: dict[str, Any], known: dict[str, Any], what: str, where: str) -> None:
    """Refuse unknown keys, also those of tables that msgspec would read over; values are left to msgspec."""
    for key, value in tree.items():
        if key not in known:
            raise UsageError(f"{what}: {where} has no key {key!r}.", remedy=suggest(key, sorted(known)))
        below = known[key]
        if key == "search" and where == "the recipe":
            continue  # its keys are paths, looked at when the rest is known to be right
        if isinstance(value, dict):
            place = key if where == "the recipe" else f"{where}.{key}"
            if not isinstance(below, dict):
                raise UsageError(f"{what}: {place} is one value, not a table.")
            _check_keys(value, below, what, place)


def suggest(word: str, choices: list[str]) -> str:
    """What to say to a word that is none of the choices."""
    near = difflib.get_close_matches(word, choices, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(choices)}."
