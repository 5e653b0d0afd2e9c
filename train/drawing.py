"""Drawing the values of a trial, and telling what a trial has drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from optuna.trial import Trial

from .space import Choices, Space


def draw_values(trial: Trial, space: Space) -> dict[str, Any]:
    """Draw a value for every key of a search space.

    Args:
        trial: The trial; it remembers what was drawn.
        space: What may be drawn.

    Returns:
        Values by key path, as a recipe takes them.
    """
    for key, entry in space.items():
        if isinstance(entry, Choices):
            trial.suggest_categorical(key, [_name(choice) for choice in entry.choices])
        elif isinstance(entry.low, int) and isinstance(entry.high, int):  # only where the recipe's value is whole
            trial.suggest_int(key, entry.low, entry.high, step=int(entry.step or 1), log=entry.log)
        else:
            trial.suggest_float(key, entry.low, entry.high, step=entry.step, log=entry.log)
    return drawn_values(trial.params, space)


def drawn_values(params: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """What a trial has drawn, as a recipe takes it.

    Args:
        params: As the storage keeps them.
        space: What was drawn from.
    """
    values = {}
    for key, value in params.items():
        entry = space.get(key)
        named = {_name(c): c for c in entry.choices} if isinstance(entry, Choices) else {}
        values[key] = named.get(value, value)
    return values


def _name(choice: Any) -> Any:
    """What a storage can keep: lists go in as text."""
    return choice if isinstance(choice, str | int | float | bool) else json.dumps(choice)
