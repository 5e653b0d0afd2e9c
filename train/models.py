"""The model registry: architecture name to builder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from edgebrain.errors import TrainingError, UsageError

from . import checkpoint
from .config import Recipe, parse_recipe, recipe_tree
from .edge import EdgeNet

MODEL_FORMAT = "edgebrain-model/1"


class TrainedModel(NamedTuple):
    """A network with its trained weights, in evaluation mode, and what is known of its training."""

    net: EdgeNet
    recipe: Recipe
    facts: dict[str, Any]


def build(recipe: Recipe) -> EdgeNet:
    """Build the network of a recipe with fresh weights.

    Raises:
        TrainingError: The recipe's numbers do not fit together.
    """
    config = recipe.model
    if config.labels != len(recipe.data.labels):
        raise TrainingError(
            f"The recipe's model has {config.labels} outputs, its data {len(recipe.data.labels)} labels.",
            remedy="Set model.labels to the number of data.labels.",
        )
    if len(config.widths) != len(config.blocks):
        raise TrainingError("model.widths and model.blocks must have the same length.")
    step = 2 ** (1 + len(config.widths))
    if recipe.input.width <= 0 or recipe.input.height <= 0 or recipe.input.width % step or recipe.input.height % step:
        raise TrainingError(
            f"An input of {recipe.input.width} x {recipe.input.height} does not fit {len(config.widths)} stages.",
            remedy=f"Set input.width and input.height to multiples of {step}.",
        )
    return EdgeNet(config)


def save_model(path: Path, weights: dict[str, Tensor], recipe: Recipe, facts: dict[str, Any]) -> None:
    """Write a trained model: weights, the recipe that made them, and facts (data digest, code version, results)."""
    checkpoint.save(path, {"model": MODEL_FORMAT, "weights": weights, "recipe": recipe_tree(recipe), "facts": facts})


def load_model(path: Path) -> TrainedModel:
    """Read a trained model.

    Raises:
        TrainingError: The file is no trained model, or its weights do not fit its recipe.
    """
    tree = checkpoint.load(path)
    if not isinstance(tree, dict) or tree.get("model") != MODEL_FORMAT:
        raise TrainingError(
            f"{path} is a training checkpoint, not a trained model.", remedy="Name the run's model.safetensors."
        )
    try:
        recipe = parse_recipe(tree["recipe"], str(path))
    except UsageError as error:
        raise TrainingError(f"{path}: its recipe is not one that this version knows: {error}") from error
    net = build(recipe)
    try:
        net.load_state_dict(tree["weights"])
    except RuntimeError as error:
        raise TrainingError(f"{path}: the weights do not fit the recipe: {error}") from error
    return TrainedModel(net.eval(), recipe, tree["facts"])
