"""The ``[search]`` table of a recipe: which of its values a search may change, and within which bounds.

A key is the path that ``--set`` takes, a value one of two tables::

    [search]
    optimizer.lr = { low = 1e-4, high = 1e-2, log = true }
    trainer.batch_size = { choices = [16, 32, 64] }
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec

from edgebrain.errors import UsageError

from .shapes import Section

_FIXED = ("name", "description", "system", "search", "data.labels", "start")
"""What a search cannot change without comparing one thing with another."""


class Range(Section, frozen=True, forbid_unknown_fields=True):
    """Numbers from ``low`` to ``high``, both included.

    Attributes:
        low: Lower end.
        high: Upper end.
        log: Draw evenly over orders of magnitude; ``low`` must be above 0.
        step: Draw only ``low``, ``low + step`` and so on; not together with ``log``.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: Annotated[int, msgspec.Meta(gt=0)] | Annotated[float, msgspec.Meta(gt=0)] | None = None

    def ends(self) -> tuple[Any, ...]:
        """Values that the recipe must be able to hold."""
        return (self.low, self.high)


class Choices(Section, frozen=True, forbid_unknown_fields=True):
    """A list of values, one of which is taken.

    Attributes:
        choices: At least two different ones: numbers, words, truth values or lists.
    """

    choices: tuple[Any, ...]

    def ends(self) -> tuple[Any, ...]:
        """Values that the recipe must be able to hold."""
        return self.choices


Space = dict[str, Range | Choices]
_KEYS = frozenset((*Range.__struct_fields__, *Choices.__struct_fields__))


def key_tree(key: str, value: Any) -> dict[str, Any]:
    """The change of one value as a tree: ``optimizer.lr`` becomes ``{"optimizer": {"lr": value}}``."""
    for part in reversed(key.split(".")):
        value = {part: value}
    tree: dict[str, Any] = value
    return tree


def value_at(tree: Mapping[str, Any], key: str) -> Any:
    """The value at a key path."""
    value: Any = tree
    for part in key.split("."):
        value = value[part]
    return value


def read_space(table: Mapping[str, Any], known: Mapping[str, Any], name: str) -> Space:
    """Read a ``[search]`` table, whose keys were checked to be keys of a recipe.

    Args:
        table: The table; a key may be one dotted word in quotes, or nested tables.
        known: A recipe with every key there is, for the kinds of its values.
        name: Where the table stands, for messages.

    Returns:
        Key paths in order, each with what may be drawn.

    Raises:
        UsageError: A value is no range and no list of choices, or does not fit its key.
    """
    space: Space = {}
    for key, value in flat(table):
        where = f"{name}: [search] {key}"
        if key.split(".", maxsplit=1)[0] in _FIXED or key in _FIXED:
            raise UsageError(
                f"{where}: a search cannot change it.", remedy="Use --set, and search once for each value."
            )
        kind: Any = Choices if isinstance(value, dict) and "choices" in value else Range
        try:
            entry = msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            raise UsageError(
                f"{where}: {error}.", remedy="Give { low = A, high = B, log = true } or { choices = [A, B] }."
            ) from error
        usual = value_at(known, key)
        _check(entry, usual, where)
        space[key] = _floats(entry) if isinstance(entry, Range) and isinstance(usual, float) else entry
    return space


def _floats(entry: Range) -> Range:
    """The same range for a value that need not be whole, however its ends were written."""
    step = None if entry.step is None else float(entry.step)
    return Range(float(entry.low), float(entry.high), entry.log, step)


def flat(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Key paths of a ``[search]`` table with what stands there."""
    for part, value in table.items():
        key = f"{above}.{part}" if above else part
        if isinstance(value, dict) and value and not value.keys() & _KEYS:
            yield from flat(value, key)
        else:
            yield key, value


def _check(entry: Range | Choices, usual: Any, where: str) -> None:
    if isinstance(usual, dict):
        raise UsageError(f"{where}: it is a table.", remedy="Name one value in it.")
    if isinstance(entry, Choices):
        if len({json.dumps(choice, default=str) for choice in entry.choices}) < max(2, len(entry.choices)):
            raise UsageError(f"{where}: choices must be at least two different values.")
        return
    if isinstance(usual, bool) or not isinstance(usual, int | float):
        raise UsageError(f"{where}: it is not a number.", remedy="Give { choices = [A, B] }.")
    ends = (entry.low, entry.high, *([] if entry.step is None else [entry.step]))
    if not all(map(math.isfinite, ends)) or entry.low >= entry.high:
        raise UsageError(f"{where}: low must be below high, and both finite.")
    if entry.log and (entry.low <= 0 or entry.step is not None):
        raise UsageError(f"{where}: log needs low above 0, and no step.")
    if isinstance(usual, int) and not all(isinstance(end, int) for end in ends):
        raise UsageError(f"{where}: low, high and step must be whole numbers.")
