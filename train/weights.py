"""Weights to start a published architecture from: its library's own, or a file of the user.

The libraries download into the cache of the tensor library and look there first, so a machine without a network needs
no more than the one file in that folder. Files of users are read without executing anything in them.
"""

from __future__ import annotations

import contextlib
import http.client
import pickle
import re
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from edgebrain.errors import TrainingError

from . import checkpoint
from .transfer import PATCH, PUBLISHED, TransferNet

Weights = dict[str, Tensor]

_NESTED = ("state_dict", "model_state_dict", "model", "model_state")
"""Keys under which training scripts keep the weights in their files."""


def start_from(net: TransferNet, weights: str) -> None:
    """Fill the body of a network, and its head where the weights have one of the same shape.

    Args:
        net: The network, with random weights.
        weights: ``imagenet``, ``none`` or the path of a state dict.

    Raises:
        TrainingError: The weights cannot be had, read, or do not fit.
    """
    if weights == "none":
        return
    if weights == "imagenet":
        _fill(net, load_imagenet(net.architecture), f"The ImageNet weights of {net.architecture}")
    else:
        _fill(net, read_weights(Path(weights)), weights)


def load_imagenet(architecture: str) -> Weights:
    """The published ImageNet weights, by the library's own loader: from its cache, else by download.

    Args:
        architecture: A key of ``PUBLISHED``.

    Raises:
        TrainingError: They cannot be downloaded, or the file in the cache is damaged.
    """
    url = imagenet_url(architecture)
    cached = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where the loader says that it downloads
            return _library_weights(architecture)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise TrainingError(
            f"The ImageNet weights of {architecture} cannot be downloaded ({reason}).",
            remedy=f"Fetch {url} elsewhere and put it at {cached}, or use --weights none or --weights FILE.",
        ) from error
    except (RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"The ImageNet weights of {architecture} in {cached} are damaged or not the ones published.",
            remedy=f"Delete that file, or put {url} there again.",
        ) from error


def imagenet_url(architecture: str) -> str:
    """Where the library fetches the ImageNet weights of an architecture."""
    function = PUBLISHED[architecture].function
    if PUBLISHED[architecture].from_timm:
        import timm

        return str(timm.get_pretrained_cfg(function).url)
    from torchvision import models

    return str(models.get_model_weights(function)["IMAGENET1K_V1"].url)


def _library_weights(architecture: str) -> Weights:
    published = PUBLISHED[architecture]
    if published.from_timm:
        import timm

        net: nn.Module = timm.create_model(published.function, pretrained=True)
    else:
        from torchvision import models

        # The loader of the architecture, because some rename what is in older files.
        net = models.get_model(published.function, weights="IMAGENET1K_V1")
    return net.state_dict()


def read_weights(path: Path) -> Weights:
    """Read a state dict: safetensors, or what ``torch.save`` wrote, without executing anything in it.

    Args:
        path: The file; weights may lie one level down, as training scripts keep them.

    Raises:
        TrainingError: It cannot be read, or holds no weights.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
        # A safetensors file starts with the length of its JSON header, in eight bytes.
        tree: Any = _read_safetensors(path) if start[8:] == b"{" else torch.load(path, "cpu", weights_only=True)
    except OSError as error:
        raise TrainingError(f"The weights {path} cannot be read: {error.strerror}.") from error
    except (SafetensorError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path} is no file of weights that can be read safely.",
            remedy="Give a safetensors file, or a state dict written by torch.save.",
        ) from error
    if isinstance(tree, dict):
        tree = next((tree[key] for key in _NESTED if isinstance(tree.get(key), dict)), tree)
        weights = {name: value for name, value in tree.items() if isinstance(value, Tensor)}
        if weights:
            return weights
    raise TrainingError(f"{path} holds no weights.", remedy="Give a state dict: names and tensors.")


def _read_safetensors(path: Path) -> Weights:
    with safe_open(str(path), framework="pt") as file:
        if (file.metadata() or {}).get("format") == checkpoint.FORMAT:
            raise TrainingError(f"{path} is a model of edgebrain.", remedy=f"Start from it with --set start={path}.")
    return load_file(path)


def _fill(net: TransferNet, weights: Weights, source: str) -> None:
    own = net.body.state_dict()
    given = {_modern(name): value for name, value in _without_prefix(weights, own).items()}
    if net.architecture == "vit":
        given = _resized(given, own)
    head = {name: value for name, value in given.items() if name.startswith(PUBLISHED[net.architecture].head)}
    rest = {name: value for name, value in given.items() if name not in head and not name.startswith("AuxLogits.")}
    wrong = [k for k in own if k not in rest and not k.endswith("num_batches_tracked")]  # older files do not count
    wrong += [k for k, value in rest.items() if k not in own or own[k].shape != value.shape]
    if wrong:
        raise TrainingError(
            f"{source} do not fit {net.architecture}: {len(wrong)} of its tensors are missing or have another shape, "
            f"{', '.join(wrong[:3])} among them.",
            remedy=f"Give the weights of the library's {PUBLISHED[net.architecture].function}.",
        )
    net.body.load_state_dict(rest, strict=False)
    _fill_head(net, head)


def _fill_head(net: TransferNet, head: Weights) -> None:
    """Take over the last layer where it has as many labels and features; else it stays random."""
    weight, bias = net.head.weight, net.head.bias
    assert bias is not None
    for name, value in head.items():
        other = head.get(f"{name.removesuffix('weight')}bias")
        if name.endswith("weight") and value.shape == weight.shape[:2] and other is not None:
            with torch.no_grad():
                weight.copy_(value[:, :, None, None])
                bias.copy_(other)


def _without_prefix(weights: Weights, own: Weights) -> Weights:
    """Take off what wrappers put before every name (``module.``, ``model.backbone.``), found by what fits best."""
    first = next(iter(own))
    prefixes = {name.removesuffix(first) for name in weights if name == first or name.endswith(f".{first}")}
    prefix = max(sorted(prefixes), key=lambda p: sum(p + name in weights for name in own), default="")
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _modern(name: str) -> str:
    """Published DenseNet files are older than the library's names (``norm.1`` is ``norm1`` today)."""
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", name)


def _resized(given: Weights, own: Weights) -> Weights:
    """Positions of a vision transformer for another number of patches, interpolated as its library does."""
    from torchvision.models.vision_transformer import interpolate_embeddings

    name = "encoder.pos_embedding"
    if name not in given or given[name].shape == own[name].shape:
        return given
    patches = own[name].shape[1] - 1
    try:
        resized = interpolate_embeddings(PATCH * round(patches**0.5), PATCH, OrderedDict(given))
    except ValueError:
        return given  # no square: the comparison of shapes refuses it
    return dict(resized)
