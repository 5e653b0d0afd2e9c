"""A recipe as TOML text: what :func:`edgebrain.train.config.load_recipe` reads back as the same recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .config import Recipe, recipe_tree


def recipe_text(recipe: Recipe, comments: tuple[str, ...] = ()) -> str:
    """Write out every value of a recipe.

    Args:
        recipe: The recipe.
        comments: Lines to put before it, without their ``#``.

    Returns:
        TOML, one table a section, the defaults written out, too.
    """
    tree = recipe_tree(recipe)
    plain = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    head = "".join(f"# {_one_line(line)}\n" for line in comments)
    tables = [_table(key, value) for key, value in tree.items() if isinstance(value, dict) and value]
    return head + "".join(_lines(plain)) + "".join(tables)


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _table(name: str, values: Mapping[str, Any]) -> str:
    return f"\n[{name}]\n" + "".join(_lines(values))


def _lines(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if value is not None:  # TOML has no word for it: a key that is left out
            yield f"{_key(key)} = {toml_value(value)}\n"


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else _string(key)


def toml_value(value: Any) -> str:
    """One value as TOML writes it."""
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(k)} = {toml_value(v)}" for k, v in value.items() if v is not None)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but for the delete character, which TOML wants escaped as well.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
