"""Published architectures with a new head: torchvision's, and timm's for Xception, which torchvision lacks.

The body is the library's own module without its classifier, with the library's names, so that published state dicts
fit it as they are. Feature maps are averaged over all positions and go through one linear layer (systems B and E as
published; system C says "global average pooling + dense"; VGG loses its three fully connected layers for it, as Keras
does without its top). That makes the class-activation map exact (Zhou et al., "Learning Deep Features for
Discriminative Localization", CVPR 2016). A vision transformer has no feature map that is averaged, so it has none.

The auxiliary classifier of Inception v3 is left out, as in Keras: system C trains one output.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgebrain.errors import MissingExtra, TrainingError

from .config import Recipe, TransferConfig
from .edge import EdgeOutput

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5)
PATCH = 16
"""Side of the squares that a vision transformer cuts its input into."""


@dataclass(frozen=True)
class Published:
    """What is known of a published architecture.

    Attributes:
        function: Name of its function in ``torchvision.models``, or of its model in timm.
        body: Makes the body of the library's module.
        features: Numbers that the new head gets, D.
        head: Prefix of the library's classifier in its state dict.
        smallest: Shortest side of an input that leaves something to average.
        mean: Of each channel in [0, 1], as the published weights were trained with.
        std: The same.
        options: For the function.
    """

    function: str
    body: Callable[[nn.Module], nn.Module]
    features: int
    head: str
    smallest: int = 32
    mean: tuple[float, float, float] = _IMAGENET_MEAN
    std: tuple[float, float, float] = _IMAGENET_STD
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def from_timm(self) -> bool:
        """Whether timm has it, not torchvision."""
        return self.function == "legacy_xception"


def _until_pooling(net: nn.Module) -> nn.Module:
    """The children that make the last feature map, in the order in which they run, which is that of definition."""
    left_out = {"avgpool", "global_pool", "AuxLogits", "dropout", "fc", "classifier"}
    return nn.Sequential(OrderedDict((k, v) for k, v in net.named_children() if k not in left_out))


def _until_last_relu(net: nn.Module) -> nn.Module:
    return nn.Sequential(OrderedDict([*_until_pooling(net).named_children(), ("relu", nn.ReLU())]))


def _without_heads(net: nn.Module) -> nn.Module:
    net.heads = nn.Identity()
    return net


PUBLISHED: dict[str, Published] = {
    "resnet18": Published("resnet18", _until_pooling, 512, "fc."),
    "resnet50": Published("resnet50", _until_pooling, 2048, "fc."),
    "resnet101": Published("resnet101", _until_pooling, 2048, "fc."),
    "vgg16": Published("vgg16", _until_pooling, 512, "classifier."),
    "vgg19": Published("vgg19", _until_pooling, 512, "classifier."),
    "inception-v3": Published(
        # torchvision turns the usual normalisation into this one inside the network, where weights are published.
        "inception_v3",
        _until_pooling,
        2048,
        "fc.",
        smallest=75,
        mean=_HALF,
        std=_HALF,
        options=(("transform_input", False), ("init_weights", False)),
    ),
    "densenet121": Published("densenet121", _until_last_relu, 1024, "classifier."),
    "xception": Published("legacy_xception", _until_pooling, 2048, "fc.", smallest=71, mean=_HALF, std=_HALF),
    "efficientnet-b0": Published("efficientnet_b0", _until_pooling, 1280, "classifier."),
    "vit": Published("vit_b_16", _without_heads, 768, "heads."),
}
"""Every published architecture, by its name in recipes."""


class TransferNet(nn.Module):
    """A published body and a new head.

    Args:
        architecture: A key of ``PUBLISHED``.
        config: How much learns, and dropout.
        labels: Number of outputs K.
        side: Rows and columns of the input; a vision transformer is made for one size.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: str, config: TransferConfig, labels: int, side: int) -> None:
        super().__init__()
        published = PUBLISHED[architecture]
        self.architecture = architecture
        for name in ("mean", "std"):
            values = torch.tensor(getattr(published, name)).reshape(1, 3, 1, 1)
            self.register_buffer(name, values, persistent=False)
        options = {"image_size": side} if architecture == "vit" else {}
        self.body = published.body(library_net(architecture, **options))
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Conv2d(published.features, labels, 1)
        frozen = _first_layers(self.body, config.trained)
        for module in frozen:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(requires_grad=False)
        self._still = [name for name, module in self.body.named_modules() if _is_still(module, frozen)]
        # Lightning trains modules in the mode they come in.
        self.train()

    def train(self, mode: bool = True) -> TransferNet:
        """Switch to training; frozen layers keep their statistics, and drop nothing."""
        super().train(mode)
        for name in self._still:
            self.body.get_submodule(name).eval()
        return self

    def forward(self, image: Tensor) -> EdgeOutput:
        """Classify.

        Args:
            image: uint8 (or float with the same values) [N, 1, H, W].

        Returns:
            logits, embedding, and class-activation maps where the body gives feature maps.
        """
        # The one channel meets three means here, which repeats it.
        features = self.body((image.float() / 255.0 - self.mean) / self.std).float()
        if features.ndim == 2:  # noqa: PLR2004 - [N, D]: a class token
            return EdgeOutput(self._logits(features), features)
        embedding = features.mean(dim=(2, 3))
        return EdgeOutput(self._logits(embedding), embedding, self.head(features).float())

    def _logits(self, embedding: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(embedding)[:, :, None, None]).float().flatten(1)
        return logits

    def deployed(self) -> TransferNet:
        """A copy for export."""
        return copy.deepcopy(self).eval()


def _own_weights(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _first_layers(body: nn.Module, trained: int) -> set[nn.Module]:
    """All layers with weights, norms among them, but the last ``trained`` in order of definition."""
    layers = [module for module in body.modules() if _own_weights(module)]
    return set() if trained < 0 else set(layers[: max(0, len(layers) - trained)])


def _is_still(module: nn.Module, frozen: set[nn.Module]) -> bool:
    """Whether all layers with weights in a module are frozen; what it drops at random then stays as well."""
    layers = {m for m in module.modules() if _own_weights(m)}
    return bool(layers) and layers <= frozen


def library_net(architecture: str, **options: Any) -> nn.Module:
    """Build the library's own module with random weights and its ImageNet head.

    Args:
        architecture: A key of ``PUBLISHED``.
        options: Further options of the library's function.

    Raises:
        MissingExtra: The library is not installed.
    """
    published = PUBLISHED[architecture]
    options = {**dict(published.options), **options}
    library = "timm" if published.from_timm else "torchvision"
    try:
        if published.from_timm:
            import timm

            net: nn.Module = timm.create_model(published.function, pretrained=False, **options)
        else:
            from torchvision import models

            net = models.get_model(published.function, weights=None, **options)
    except ModuleNotFoundError as error:
        raise MissingExtra(architecture, extra="train", module=library) from error
    return net


def build_transfer(recipe: Recipe) -> TransferNet:
    """Build the network of a recipe with random weights.

    Raises:
        MissingExtra: The library with the architecture is not installed.
        TrainingError: The recipe's input does not fit it.
    """
    name, side = recipe.architecture, recipe.input
    smallest = PUBLISHED[name].smallest
    if min(side.width, side.height) < smallest:
        raise TrainingError(
            f"An input of {side.width} x {side.height} is too small for {name}.",
            remedy=f"Set input.width and input.height to {smallest} or more.",
        )
    if name == "vit" and (side.width != side.height or side.width % PATCH):
        raise TrainingError(
            f"An input of {side.width} x {side.height} cannot be cut into patches of {PATCH} x {PATCH} for {name}.",
            remedy=f"Set input.width and input.height to the same multiple of {PATCH}.",
        )
    return TransferNet(name, recipe.transfer, len(recipe.data.labels), side.width)
