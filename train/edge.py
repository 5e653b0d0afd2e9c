"""The ``edge`` architecture: a small plain residual network made for INT8 on small hardware.

Why it looks as it does:

* Plain 3x3 convolutions with ReLU and additive shortcuts. Every one of them has a fast quantised kernel on every
  engine; depthwise convolutions and hard-swish save multiplications on paper and lose accuracy and speed in INT8.
* Normalisation is in the graph, per image: the mean and the standard deviation of the slice are taken out, which makes
  the answer independent of window and gain before the first weight is applied.
* The head is a 1x1 convolution over the last feature map, then an average. That equals a linear layer on the
  average-pooled embedding, and gives the class-activation map for free (Zhou et al., "Learning Deep Features for
  Discriminative Localization", CVPR 2016).
* Shortcuts across a change of size are average-pool + 1x1 (He et al., "Bag of Tricks", CVPR 2019, ResNet-D), which
  keeps the pixels that a strided 1x1 would drop.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .config import EdgeConfig


class EdgeOutput(NamedTuple):
    """What the graph gives, all float32; ``outlier`` is None where the network was not trained to know outliers.

    Attributes:
        logits: [N, K].
        embedding: [N, D], the input of the last linear layer.
        cam: [N, K, h, w]; None where the architecture does not average a feature map before its last layer.
        outlier: [N], a logit: the higher, the less the picture looks like a brain MRI slice.
    """

    logits: Tensor
    embedding: Tensor
    cam: Tensor | None = None
    outlier: Tensor | None = None


class PerImageNorm(nn.Module):
    """uint8 [N, 1, H, W] to float32 with mean 0 and standard deviation 1 per image, clipped to [-3, 6]."""

    def forward(self, image: Tensor) -> Tensor:
        """Normalise; a constant image becomes zeros."""
        x = image.float() / 255.0
        x = x - x.mean(dim=(2, 3), keepdim=True)
        deviation = (x * x).mean(dim=(2, 3), keepdim=True).sqrt() + 1e-3
        return torch.clamp(x / deviation, -3.0, 6.0)


def _conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        stride: 1, or 2 to halve the resolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _conv_bn(inputs, outputs, 3, stride)
        self.second = _conv_bn(outputs, outputs, 3)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            pool = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()  # noqa: PLR2004 - halving
            self.shortcut = nn.Sequential(pool, *_conv_bn(inputs, outputs, 1))
        # Starting as the identity makes deep residual networks train faster (Goyal et al. 2017).
        last = self.second[1]
        assert isinstance(last, nn.BatchNorm2d)
        nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to [N, C, h, w]."""
        out: Tensor = self.relu(self.second(self.relu(self.first(x))) + self.shortcut(x))
        return out


class EdgeNet(nn.Module):
    """The network; see the module's text.

    Args:
        config: Shape of the network.
        outlier: Whether to add the ``outlier`` output, a linear map of the embedding.
    """

    def __init__(self, config: EdgeConfig | None = None, *, outlier: bool = False) -> None:
        super().__init__()
        self.config = config = config or EdgeConfig()
        self.norm = PerImageNorm()
        self.stem = nn.Sequential(*_conv_bn(1, config.stem, 3, 2), nn.ReLU(inplace=True))
        layers: list[nn.Module] = []
        channels = config.stem
        for width, count in zip(config.widths, config.blocks, strict=True):
            for index in range(count):
                layers.append(ResidualBlock(channels, width, 2 if index == 0 else 1))
                channels = width
        self.stages = nn.Sequential(*layers)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Conv2d(channels, config.labels, 1)
        self.outlier = nn.Linear(channels, 1) if outlier else None

    def forward(self, image: Tensor) -> EdgeOutput:
        """Classify.

        Args:
            image: uint8 (or float with the same values) [N, 1, H, W], H and W multiples of 2 ** (1 + number of stages).

        Returns:
            logits, embedding and class-activation maps.
        """
        features = self.stages(self.stem(self.norm(image)))
        cam = self.head(self.dropout(features)).float()
        embedding = features.float().mean(dim=(2, 3))
        outlier = None if self.outlier is None else self.outlier(embedding).float().squeeze(1)
        return EdgeOutput(cam.mean(dim=(2, 3)), embedding, cam, outlier)

    def deployed(self) -> EdgeNet:
        """A copy for export in which every pooling shortcut is one strided 2x2 convolution.

        Averaging four pixels and then weighting them is weighting each of them by a quarter: the numbers are the same,
        and a pooling kernel that INT8 engines run slowly is gone.
        """
        net = copy.deepcopy(self).eval()
        for block in net.stages:
            assert isinstance(block, ResidualBlock)
            shortcut = block.shortcut
            if isinstance(shortcut, nn.Sequential) and isinstance(shortcut[0], nn.AvgPool2d):
                pointwise = shortcut[1]
                assert isinstance(pointwise, nn.Conv2d)
                merged = nn.Conv2d(pointwise.in_channels, pointwise.out_channels, 2, 2, bias=False)
                with torch.no_grad():
                    merged.weight.copy_((pointwise.weight / 4).expand_as(merged.weight))
                block.shortcut = nn.Sequential(merged, shortcut[2])
        return net.eval()
