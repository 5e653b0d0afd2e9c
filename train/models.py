"""The model registry: architecture name to builder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from edgebrain.errors import TrainingError, UsageError
from edgebrain.labelled import NO_TUMOR

from . import checkpoint
from .cnn import PlainCnn, build_cnn
from .config import Recipe, kept_recipe, recipe_tree
from .edge import EdgeNet
from .lite import LiteNet
from .transfer import PUBLISHED, TransferNet, build_transfer
from .weights import start_from

MODEL_FORMAT = "edgebrain-model/2"
_FIRST_FORMAT = "edgebrain-model/1"


class TrainedModel(NamedTuple):
    """A network with its trained weights, in evaluation mode, and what is known of its training."""

    net: Network
    recipe: Recipe
    facts: dict[str, Any]


Network = EdgeNet | LiteNet | PlainCnn | TransferNet


def fresh(recipe: Recipe) -> Network:
    """Build the network of a recipe as training starts: with published weights where the recipe wants them.

    Raises:
        MissingExtra: The package with the architecture or its published weights is not installed.
        TrainingError: The recipe's numbers do not fit together, or not with the weights to start from, or those cannot
            be had.
    """
    net = build(recipe)
    if recipe.start:
        _take_over(net, Path(recipe.start))
    elif isinstance(net, LiteNet) and recipe.lite.pretrained:
        net.load_published()
    elif isinstance(net, TransferNet):
        start_from(net, recipe.transfer.weights)
    return net


def _take_over(net: Network, path: Path) -> None:
    """Fill a network with the weights of a trained one; an output that it lacks stays random."""
    weights = load_model(path).net.state_dict()
    own = net.state_dict()
    strange = [k for k in weights if k not in own or own[k].shape != weights[k].shape]
    missing = [k for k in own if k not in weights and not k.startswith("outlier.")]
    if strange or missing:
        raise TrainingError(
            f"{path} does not fit the recipe's network: {', '.join([*strange, *missing][:3])}.",
            remedy="Start from a model of the same architecture and shape.",
        )
    net.load_state_dict(weights, strict=False)


def towards_start(weights: dict[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
    """Learned weights, moved towards those that training started from by the recipe's ``start_share``.

    Args:
        weights: By name, as the network of the recipe has them.
        recipe: Start and share; without either the weights stay as they are.

    Raises:
        TrainingError: The weights to start from cannot be read.
    """
    if not (recipe.start and recipe.start_share):
        return weights
    first = load_model(Path(recipe.start)).net.state_dict()
    return {
        name: torch.lerp(value, first[name], recipe.start_share)
        if name in first and value.is_floating_point()
        else value
        for name, value in weights.items()
    }


def build(recipe: Recipe) -> Network:
    """Build the network of a recipe with random weights, to be filled with trained ones.

    Raises:
        TrainingError: The recipe's numbers do not fit together.
    """
    if (recipe.data.some_tumor or recipe.augment.lesion) and NO_TUMOR not in recipe.data.labels:
        raise TrainingError(
            f"Scans with some tumour need the label {NO_TUMOR} beside them.",
            remedy="Set data.some_tumor and augment.lesion to 0.",
        )
    if recipe.data.outliers and recipe.architecture not in _WITH_OUTLIER:
        raise TrainingError(
            f"The {recipe.architecture} network has no outlier output.", remedy="Set data.outliers to 0."
        )
    return BUILDERS[recipe.architecture](recipe)


def parameter_counts(net: nn.Module) -> tuple[int, int]:
    """How many parameters of a network learn, and how many it has; running statistics are none."""
    sizes = [(p.numel(), p.requires_grad) for p in net.parameters()]
    return sum(n for n, learns in sizes if learns), sum(n for n, _ in sizes)


def _build_lite(recipe: Recipe) -> LiteNet:
    return LiteNet(len(recipe.data.labels), recipe.lite, outlier=recipe.data.outliers > 0)


def _build_edge(recipe: Recipe) -> EdgeNet:
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
    return EdgeNet(config, outlier=recipe.data.outliers > 0)


BUILDERS: dict[str, Callable[[Recipe], Network]] = {
    "edge": _build_edge,
    "lite0": _build_lite,
    "cnn3": build_cnn,
    "cnn4": build_cnn,
    "cnn-tuned": build_cnn,
    **dict.fromkeys(PUBLISHED, build_transfer),
}
"""Every architecture that a recipe can name."""
_WITH_OUTLIER = ("edge", "lite0")


def save_model(path: Path, weights: dict[str, Tensor], recipe: Recipe, facts: dict[str, Any]) -> None:
    """Write a trained model: weights, the recipe that made them, and facts (data digest, code version, results)."""
    checkpoint.save(path, {"model": MODEL_FORMAT, "weights": weights, "recipe": recipe_tree(recipe), "facts": facts})


def load_model(path: Path) -> TrainedModel:
    """Read a trained model.

    Raises:
        TrainingError: The file is no trained model, or its weights do not fit its recipe.
    """
    tree = checkpoint.load(path)
    if isinstance(tree, dict) and tree.get("model") == _FIRST_FORMAT:
        _from_first_format(tree)
    elif not isinstance(tree, dict) or tree.get("model") != MODEL_FORMAT:
        raise TrainingError(
            f"{path} is a training checkpoint, not a trained model.", remedy="Name the run's model.safetensors."
        )
    try:
        recipe = kept_recipe(tree["recipe"], str(path))
    except UsageError as error:
        raise TrainingError(f"{path}: its recipe is not one that this version knows: {error}") from error
    net = build(recipe)
    try:
        net.load_state_dict(_one_channel(net, tree["weights"]))
    except RuntimeError as error:
        raise TrainingError(f"{path}: the weights do not fit the recipe: {error}") from error
    return TrainedModel(net.eval(), recipe, tree["facts"])


def _one_channel(net: Network, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Until version 0.3 the first convolution of ``lite0`` took the grey picture three times; the sum is the same."""
    first = weights.get("stem.0.weight")
    if isinstance(net, LiteNet) and first is not None and first.shape[1] > 1:
        return weights | {"stem.0.weight": first.sum(dim=1, keepdim=True)}
    return weights


def _from_first_format(tree: dict[str, Any]) -> None:
    """The warm-up of the learning rate was a number of the optimiser once."""
    recipe = tree.get("recipe")
    if isinstance(recipe, dict) and isinstance(recipe.get("optimizer"), dict) and "warmup" in recipe["optimizer"]:
        recipe["schedule"] = {"warmup": recipe["optimizer"].pop("warmup")}
