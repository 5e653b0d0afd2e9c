"""Recipes: one validated TOML file a model, torch-free.

A recipe holds every number that training depends on. The command line can override any of them with
``--set section.key=value``; a key that does not exist is refused with the nearest one that does.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from edgebrain.errors import UsageError

from .recipe import (
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
    "OptimizerConfig",
    "Recipe",
    "ScheduleConfig",
    "TrainerConfig",
    "TransferConfig",
    "load_recipe",
    "parse_recipe",
    "recipe_names",
    "recipe_tree",
]

SPLITS_FILE = "splits.csv"
"""Name of the manifest in a run folder that says which scans the run was made from, and in which split."""


def recipe_names() -> list[str]:
    """Names of the recipes that come with edgebrain, sorted."""
    folder = resources.files("edgebrain.train") / "recipes"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


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
        raise UsageError(f"There is no recipe {name!r}.", remedy=_suggest(name, known))
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
        return msgspec.convert(tree, Recipe)
    except msgspec.ValidationError as error:
        raise UsageError(f"Recipe {name}: {error}.") from error


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
            raise UsageError(f"{what}: {where} has no key {key!r}.", remedy=_suggest(key, sorted(known)))
        below = known[key]
        if isinstance(value, dict):
            place = key if where == "the recipe" else f"{where}.{key}"
            if not isinstance(below, dict):
                raise UsageError(f"{what}: {place} is one value, not a table.")
            _check_keys(value, below, what, place)


def _suggest(word: str, choices: list[str]) -> str:
    near = difflib.get_close_matches(word, choices, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(choices)}."
