"""Shapes of the networks, as recipes give them, and the base of a recipe's tables."""

from __future__ import annotations

from typing import Annotated

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Amount = Annotated[float, msgspec.Meta(ge=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Natural = Annotated[int, msgspec.Meta(ge=0)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the recipe's tables: immutable, and strict about unknown keys.

    Subclasses repeat the options, because type checkers do not inherit them.
    """


class EdgeConfig(Section, frozen=True, forbid_unknown_fields=True):
    """Shape of the ``edge`` network.

    Attributes:
        labels: Number of outputs K.
        stem: Channels after the first, strided convolution.
        widths: Channels of each stage; every stage halves the resolution.
        blocks: Residual blocks in each stage, the strided one included.
        dropout: Probability of dropping a feature before the head, in training.
    """

    labels: Count = 4
    stem: Count = 24
    widths: tuple[Count, ...] = (48, 96, 160)
    blocks: tuple[Count, ...] = (2, 2, 2)
    dropout: Share = 0.2


class LiteConfig(Section, frozen=True, forbid_unknown_fields=True):
    """Shape of the ``lite0`` network.

    Attributes:
        blocks: Blocks of each stage, from the first on; the published network has 1, 2, 2, 3, 3, 4 and 1. Fewer numbers
            are fewer stages.
        features: Channels of the last convolution, the size of the embedding; 1280 as published.
        pretrained: Start from the published ImageNet weights, as far as the shape is the published one.
        frozen: Stages at the input, the stem included, that keep them.
        dropout: Probability of dropping a feature before the head, in training.
    """

    blocks: Annotated[tuple[Count, ...], msgspec.Meta(min_length=1, max_length=7)] = (1, 2, 2, 3, 3, 4, 1)
    features: Count = 1280
    pretrained: bool = True
    frozen: Annotated[int, msgspec.Meta(ge=0, le=8)] = 3
    dropout: Share = 0.2


class CnnConfig(Section, frozen=True, forbid_unknown_fields=True):
    """Shape of the small networks of plain convolutions, ``cnn3``, ``cnn4`` and ``cnn-tuned``.

    Attributes:
        filters: Channels of the 3x3 convolutions, each followed by ReLU and 2x2 max-pooling.
        dense: Sizes of the fully connected layers before the last.
        dropout: Probability of dropping a feature between the fully connected layers, in training.
        conv_dropout: Probability of dropping a feature after each pooling but the last, in training.
        batch_norm: Batch normalisation after each of those fully connected layers.
    """

    filters: tuple[Count, ...] = (32, 64, 64)
    dense: tuple[Count, ...] = (64,)
    dropout: Share = 0.5
    conv_dropout: Share = 0.0
    batch_norm: bool = False


class TransferConfig(Section, frozen=True, forbid_unknown_fields=True):
    """How a published architecture is used: torchvision's, or timm's for Xception.

    Attributes:
        weights: ``imagenet`` (the library's own loader and cache), ``none``, or the path of a state dict.
        trained: Last layers with weights that learn, the new head not counted: 0 trains the head alone, -1 everything.
        dropout: Probability of dropping a feature before the new head, in training.
    """

    weights: str = "imagenet"
    trained: Annotated[int, msgspec.Meta(ge=-1)] = -1
    dropout: Share = 0.0
