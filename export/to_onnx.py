"""From a trained network to one ONNX file that says what it is."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from edgebrain.errors import ExportError
from edgebrain.types import Float32, Image8, InputSpec

from .topology import drop_notes

OPSET = 20
"""The highest opset of TensorRT 10.3 (JetPack 6)."""
OUTPUTS = ("logits", "embedding", "cam", "outlier")
"""Names in the order that networks give them; what a network does not have is left out."""
PARITY = 1e-4
"""Largest difference from the network, relative to the output's largest value."""


def to_onnx(net: nn.Module, spec: InputSpec, metadata: Mapping[str, object]) -> bytes:
    """Export a network, and prove that the file computes the same.

    The example has two images, because a batch of one can be baked into the graph without a word; the file is then run
    with one and with three.

    Args:
        net: Takes uint8 [N, 1, H, W], returns an ``EdgeOutput``.
        spec: The input, copied into the file's metadata.
        metadata: Further facts for it, JSON-able.

    Returns:
        The file: opset 20, input ``image``, dynamic batch, no external data.

    Raises:
        ExportError: The file differs from the network.
    """
    net.eval()
    example = torch.from_numpy(_random_images(2, spec))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            net,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(_outputs(net, example)),
            dynamic_shapes=({0: "batch"},),
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ExportError("The exporter returned nothing.")
    model = program.model_proto
    found = next(entry.version for entry in model.opset_import if not entry.domain)
    if found != OPSET:  # conversion to another opset can fail silently
        raise ExportError(f"The exporter wrote opset {found} instead of {OPSET}.")
    onnx.helper.set_model_props(model, {f"edgebrain.{key}": json.dumps(value) for key, value in metadata.items()})
    drop_notes(model)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    for batch in (1, 3):
        check_parity(net, data, _random_images(batch, spec))
    return data


def check_parity(net: nn.Module, model: bytes, images: Image8) -> float:
    """Compare a file with the network it came from.

    Args:
        net: The network.
        model: The ONNX file.
        images: uint8 [N, 1, H, W].

    Returns:
        The largest relative difference.

    Raises:
        ExportError: It is above PARITY.
    """
    expected = {name: value.numpy() for name, value in _outputs(net, torch.from_numpy(images)).items()}
    found = run_onnx(model, images)
    worst = max(
        float(np.abs(found[name] - value).max() / max(1e-6, float(np.abs(value).max())))
        for name, value in expected.items()
    )
    if not worst <= PARITY:
        raise ExportError(f"The ONNX file differs from the network by {worst:.2g} (allowed {PARITY:g}).")
    return worst


def same_answers(net: nn.Module, model: bytes, images: Image8) -> float:
    """Share of images, uint8 [N, 1, H, W], that a file and its network give the same best label."""
    expected = _outputs(net, torch.from_numpy(images))["logits"].numpy()
    return float((run_onnx(model, images)["logits"].argmax(1) == expected.argmax(1)).mean())


def _outputs(net: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return {name: value for name, value in zip(OUTPUTS, net(images), strict=True) if value is not None}


def run_onnx(model: bytes, images: Image8, batch: int = 64) -> dict[str, Float32]:
    """Run a file on the CPU.

    Args:
        model: The ONNX file.
        images: uint8 [N, 1, H, W].
        batch: Images a step.

    Returns:
        Every output, float32 [N, ...].
    """
    return in_batches(open_onnx(model), images, batch)


Runner = Callable[[Image8], dict[str, Float32]]
"""An opened file: uint8 [N, 1, H, W] to every output by name."""


def open_onnx(model: bytes, *, literally: bool = False, threads: int = 0) -> Runner:
    """Open a file on the CPU.

    Args:
        model: The ONNX file.
        literally: Run every node as it stands, Q/DQ included, as an engine that follows the graph would.
        threads: CPU threads; all if 0.
    """
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    if literally:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    except Exception as error:
        if type(error).__module__.startswith("onnxruntime"):
            raise ExportError(f"ONNX Runtime refuses the graph: {error}") from error
        raise
    names = [node.name for node in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"image": images}), strict=True))


def in_batches(run: Runner, images: Image8, batch: int = 64) -> dict[str, Float32]:
    """Run an opened file over any number of images, ``batch`` at a time."""
    steps = [run(images[i : i + batch]) for i in range(0, len(images), batch)]
    return {name: np.concatenate([step[name] for step in steps]) for name in steps[0]}


def _random_images(count: int, spec: InputSpec) -> Image8:
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, 1, spec.height, spec.width), np.uint8)
