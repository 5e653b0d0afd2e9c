"""Small networks of plain convolutions: ``cnn3`` and ``cnn4`` of system A, ``cnn-tuned`` of system D.

All are 3x3 convolutions with ReLU and 2x2 max-pooling, flattened into fully connected layers. They have no
class-activation map: the first fully connected layer sees every position with weights of its own.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn

from edgebrain.errors import TrainingError

from .config import CnnConfig, Recipe
from .edge import EdgeOutput

CONVOLUTIONS = {"cnn3": 3, "cnn4": 4}
"""Convolutions that an architecture's name promises; ``cnn-tuned`` takes as many as its search finds."""


class PlainCnn(nn.Module):
    """Convolutions, then fully connected layers.

    Args:
        config: Shape of the network.
        labels: Number of outputs K.
        height: Rows of the input.
        width: Columns of the input.
    """

    def __init__(self, config: CnnConfig, labels: int, height: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for index, filters in enumerate(config.filters):
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            if index + 1 < len(config.filters):
                layers.append(nn.Dropout(config.conv_dropout))
            channels = filters
        self.convolutions = nn.Sequential(*layers)
        size = channels * (height >> len(config.filters)) * (width >> len(config.filters))
        hidden: list[nn.Module] = [nn.Flatten()]
        for units in config.dense:
            hidden += [nn.Linear(size, units), nn.ReLU()]
            if config.batch_norm:
                hidden.append(nn.BatchNorm1d(units))
            hidden.append(nn.Dropout(config.dropout))
            size = units
        self.hidden = nn.Sequential(*hidden)
        self.head = nn.Linear(size, labels)

    def forward(self, image: Tensor) -> EdgeOutput:
        """Classify.

        Args:
            image: uint8 (or float with the same values) [N, 1, H, W] of the size that the network was made for.

        Returns:
            logits, and the input of the last layer as embedding.
        """
        embedding = self.hidden(self.convolutions(image.float() / 255.0))
        return EdgeOutput(self.head(embedding).float(), embedding.float())

    def deployed(self) -> PlainCnn:
        """A copy for export."""
        return copy.deepcopy(self).eval()


def build_cnn(recipe: Recipe) -> PlainCnn:
    """Build the network of a recipe with random weights.

    Raises:
        TrainingError: The recipe's numbers do not fit together.
    """
    filters, side = recipe.cnn.filters, recipe.input
    wanted = CONVOLUTIONS.get(recipe.architecture, len(filters))
    if len(filters) != wanted or not filters:
        raise TrainingError(
            f"{recipe.architecture} cannot have {len(filters)} convolutions.",
            remedy=f"Give {wanted or 'at least one'} in cnn.filters.",
        )
    if min(side.width, side.height) < 1 << len(filters):
        raise TrainingError(
            f"An input of {side.width} x {side.height} does not fit {len(filters)} poolings.",
            remedy=f"Set input.width and input.height to {1 << len(filters)} or more.",
        )
    return PlainCnn(recipe.cnn, len(recipe.data.labels), side.height, side.width)
