"""From a bundle back to a network that can be trained on, so that a model can learn more than it did.

A graph for inference has the normalisation by batch folded into its convolutions, and its pooling shortcuts merged
into strided ones. Here each normalisation is put back with the statistics that its input has on scans: evaluated, the
network answers as the graph does; in training it starts close to it. The state of the optimiser cannot come back.

A second reader is kept in 8 bits alone, so that it comes back with the digits that are left: close to what it was.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

import edgebrain
from edgebrain.bundle import Artifact, Bundle
from edgebrain.engines import EngineOptions, open_engine
from edgebrain.engines.two_readers import reader_alone
from edgebrain.errors import ExportError, UsageError
from edgebrain.labelled import Sample
from edgebrain.train.config import Recipe, load_recipe, recipe_names
from edgebrain.train.edge import EdgeNet
from edgebrain.train.lite import LiteNet
from edgebrain.train.models import build, save_model
from edgebrain.types import Image8, Precision

from .graph_weights import weights_of
from .progress import Say, silent
from .scans import prepare_calibration

SCANS = 512
_BATCH = 32
_TOLERANCE = 1e-2
"""Largest difference of a logit; rounding alone is far below it."""
_TOLERANCE_INT8 = 0.5
"""The same where the graph computes in 8 bits and the network does not: the shipped one is 0.17 apart on scans, and 0.3
on drawn phantoms."""


class Restored(NamedTuple):
    """What was written.

    Attributes:
        recipe: That the network belongs to.
        scans: Number of scans that the statistics rest on.
        largest_difference: Of a logit or an outlier score, from the graph's.
        unreadable: Why scans were left out.
    """

    recipe: Recipe
    scans: int
    largest_difference: float
    unreadable: tuple[str, ...] = ()


class _Layer(NamedTuple):
    """A convolution and its normalisation.

    Attributes:
        graph: The convolution's name in the deployed network.
        conv: The convolution.
        norm: What follows it.
        pooled: Whether an average over pixels comes before it, which deploying merges into it.
    """

    graph: str
    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    pooled: bool


class _Source(NamedTuple):
    """The graph that a network is made of.

    Attributes:
        bundle: With this graph as that of its only network.
        artifact: The graph's file.
        model: Name of the model.
        version: Of the model.
        recipe: Name of the recipe that made it.
        tolerance: Largest difference of a logit that is no sign of a fault.
    """

    bundle: Bundle
    artifact: Artifact
    model: str
    version: str
    recipe: str
    tolerance: float


def restore(
    bundle: Bundle, samples: Sequence[Sample], output: Path, *, second_reader: bool = False, say: Say = silent
) -> Restored:
    """Make a trained model of a bundle's fp32 graph, or of its second reader.

    Args:
        bundle: Of the ``edge`` or ``lite0`` architecture, made by this program from a recipe that it knows.
        samples: Scans for the statistics, labelled with the bundle's labels; the train split of its training is best.
        output: The model file to write, for ``--set start=FILE`` or ``--set distill.teacher=FILE``.
        second_reader: Restore the second reader, which has its weights in 8 bits.
        say: Is told what is being done.

    Returns:
        What was written.

    Raises:
        UsageError: The bundle has no such graph, or its network is not one that can be restored.
        ExportError: The network does not answer as the graph does.
        EdgebrainError: The bundle, a scan or the output cannot be used.
    """
    source = _second(bundle) if second_reader else _first(bundle)
    recipe = _recipe(source)
    net = build(recipe)
    if not isinstance(net, EdgeNet | LiteNet):
        raise UsageError(
            f"The network of recipe {recipe.name!r} cannot be restored; those of 'edge' and EfficientNet-Lite0 can."
        )
    layers = list(_layers(net))
    _fill(net.eval(), layers, bundle.read(source.artifact), source.model)
    say("reading scans")
    prepared = prepare_calibration(samples, recipe.data.labels, bundle.manifest.input, SCANS, recipe.seed)
    images = prepared.images[:, np.newaxis]
    say(f"statistics of {len(images)} scans")
    _restore_statistics(net, layers, images)
    apart = _difference(net, source, images)
    if not apart <= source.tolerance:
        raise ExportError(
            f"The restored network is not the graph of {source.model}: logits differ by up to {apart:.3g}.",
            remedy="Train on from the run's own model.safetensors.",
        )
    origin = {"id": source.model, "version": source.version, "sha256": source.artifact.sha256}
    save_model(output, net.state_dict(), recipe, {"restored_from": origin, "code_version": edgebrain.__version__})
    unreadable = tuple(one.message for one in prepared.unreadable)
    return Restored(recipe, len(prepared.targets), apart, unreadable)


_FLOAT = ("onnxruntime", Precision.FP32)


def _first(bundle: Bundle) -> _Source:
    manifest = bundle.manifest
    artifact = next((a for a in manifest.artifacts if (a.engine, a.precision) == _FLOAT), None)
    if artifact is None:
        raise UsageError(f"{manifest.id} has no fp32 graph for ONNX Runtime, and others have lost digits.")
    if manifest.head is not None:
        raise UsageError(
            f"{manifest.id} answers with an adapted head, which is not in its graph.",
            remedy="Restore the bundle that it was adapted from.",
        )
    recipe = str(manifest.provenance.get("recipe", ""))
    return _Source(bundle.first_alone(), artifact, manifest.id, manifest.version, recipe, _TOLERANCE)


def _second(bundle: Bundle) -> _Source:
    second = bundle.manifest.second_reader
    if second is None:
        raise UsageError(f"{bundle.manifest.id} has no second reader.", remedy="Leave out --second-reader.")
    # What exports a model gives it the name of its recipe, and of a second reader nothing else is kept.
    alone = reader_alone(bundle, second)
    return _Source(alone, second.artifact, second.id, second.version, second.id, _TOLERANCE_INT8)


def _recipe(source: _Source) -> Recipe:
    """The model's recipe as this version has it, with the bundle's own input, labels and seed."""
    manifest, name = source.bundle.manifest, source.recipe
    if name not in recipe_names():
        raise UsageError(f"{source.model} was made by the recipe {name!r}, which does not come with edgebrain.")
    recipe = load_recipe(name)
    outliers = recipe.data.outliers if manifest.graph.outlier is not None else 0.0
    labels = tuple(manifest.labels)
    return msgspec.structs.replace(
        recipe,
        seed=int(manifest.provenance.get("seed", recipe.seed)),
        input=replace(manifest.input),
        data=msgspec.structs.replace(recipe.data, labels=labels, outliers=outliers),
        model=msgspec.structs.replace(recipe.model, labels=len(labels)),
    )


def _layers(net: EdgeNet | LiteNet) -> Iterator[_Layer]:
    for path, module in net.named_modules():
        if not isinstance(module, nn.Sequential):
            continue
        children = list(module)
        for place, (conv, norm) in enumerate(itertools.pairwise(children)):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                pooled = place > 0 and isinstance(children[place - 1], nn.AvgPool2d)
                yield _Layer(f"{path}.{place - 1 if pooled else place}", conv, norm, pooled)


def _fill(net: EdgeNet | LiteNet, layers: Sequence[_Layer], graph: bytes, what: str) -> None:
    """Fill a network from a graph; each normalisation only adds the folded bias as yet."""
    heads: dict[str, nn.Conv2d | nn.Linear] = {"head": net.head}
    if net.outlier is not None:
        heads["outlier"] = net.outlier
    try:
        given = weights_of(graph)
        for layer in layers:
            weight = given[f"{layer.graph}.weight"]
            if layer.pooled:  # every pixel of the merged pooling has its share of the weight
                weight = weight.sum(dim=(2, 3), keepdim=True)
            _put(layer.conv.weight, weight)
            _renormalise(layer.norm, given[f"{layer.graph}.weight_bias"], torch.zeros(()), torch.ones(()))
        for name, module in heads.items():
            assert module.bias is not None
            _put(module.weight, given[f"{name}.weight"])
            _put(module.bias, given[f"{name}.bias"])
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"The graph of {what} is not laid out as the network of its recipe: {error}.",
            remedy="Train on from the run's own model.safetensors.",
        ) from error


def _put(parameter: Tensor, value: Tensor) -> None:
    if parameter.shape != value.shape:
        raise ValueError(f"{tuple(value.shape)} instead of {tuple(parameter.shape)}")
    with torch.no_grad():
        parameter.copy_(value)


def _renormalise(norm: nn.BatchNorm2d, bias: Tensor, mean: Tensor, variance: Tensor) -> None:
    """Let a normalisation with these statistics do nothing but add ``bias``."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        norm.running_mean.copy_(mean.expand_as(norm.running_mean))
        norm.running_var.copy_(variance.expand_as(norm.running_var))
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(bias + norm.running_mean)


def _restore_statistics(net: EdgeNet | LiteNet, layers: Sequence[_Layer], images: Image8) -> None:
    """Give every normalisation the mean and variance of its input on scans, without changing an answer."""
    sums = [torch.zeros(2, layer.norm.num_features, dtype=torch.float64) for layer in layers]
    pixels = [0] * len(layers)

    def watch(index: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].double()
            sums[index] += torch.stack([values.sum(dim=(0, 2, 3)), (values * values).sum(dim=(0, 2, 3))])
            pixels[index] += values.numel() // values.shape[1]

        return look

    hooks = [layer.norm.register_forward_pre_hook(watch(i)) for i, layer in enumerate(layers)]
    with torch.inference_mode():
        for begin in range(0, len(images), _BATCH):
            net(torch.from_numpy(images[begin : begin + _BATCH]))
    for hook in hooks:
        hook.remove()
    for layer, total, count in zip(layers, sums, pixels, strict=True):
        mean, square = (total / count).unbind()
        assert layer.norm.running_mean is not None
        bias = layer.norm.bias.detach() - layer.norm.running_mean
        _renormalise(layer.norm, bias, mean.float(), (square - mean * mean).clamp(min=0.0).float())


def _difference(net: EdgeNet | LiteNet, source: _Source, images: Image8) -> float:
    some = images[:_BATCH]
    with torch.inference_mode():
        ours = net(torch.from_numpy(some))
    with closing(
        open_engine(source.bundle, source.artifact, EngineOptions(threads=1), source.artifact.engine)
    ) as engine:
        theirs = engine.run(some)
    pairs = [(ours.logits, theirs["logits"]), *([] if ours.outlier is None else [(ours.outlier, theirs["outlier"])])]
    return max(float(np.abs(one.numpy() - other).max()) for one, other in pairs)
