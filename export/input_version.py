"""A model with another version of the preprocessing before it than the one that it was trained with."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from edgebrain.errors import UsageError
from edgebrain.train.models import TrainedModel
from edgebrain.types import PREPROCESSING_VERSIONS

_KEY = "trained_preprocessing"


def asking_for(version: int | None, trained: TrainedModel) -> TrainedModel:
    """The model with a version of the preprocessing before it; None keeps its own.

    Raises:
        UsageError: There is no such version.
    """
    before = trained.recipe.input
    if version is None or version == before.preprocessing:
        return trained
    if version not in PREPROCESSING_VERSIONS:
        raise UsageError(
            f"There is no preprocessing version {version}.",
            remedy=f"Choose one of {', '.join(map(str, PREPROCESSING_VERSIONS))}.",
        )
    recipe = msgspec.structs.replace(trained.recipe, input=replace(before, preprocessing=version))
    return trained._replace(recipe=recipe, facts={**trained.facts, _KEY: before.preprocessing})


def trained_preprocessing(trained: TrainedModel) -> dict[str, int]:
    """What the provenance says of it: the version of the training, where the model asks for another one."""
    return {_KEY: int(trained.facts[_KEY])} if _KEY in trained.facts else {}
