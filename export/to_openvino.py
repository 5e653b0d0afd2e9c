"""OpenVINO's own format: IR, an XML graph with its weights beside it.

OpenVINO reads ONNX directly and runs the U8S8 file as fast as one that its own tools quantised; IR saves the reading of
ONNX and, in fp16, half of the weights. OpenVINO is told the arithmetic: left alone it computes fp32 in bfloat16 on
processors that have it.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgebrain.engines.ov import load_openvino, openvino_core
from edgebrain.errors import ExportError, MissingExtra
from edgebrain.types import Float32, Image8

from .to_onnx import Runner

MODULE = "openvino"


class IntermediateRepresentation(NamedTuple):
    """The two files of a model."""

    graph: bytes
    weights: bytes


def _core() -> Any:
    if importlib.util.find_spec(MODULE) is None:
        raise MissingExtra("Exporting for OpenVINO", extra="openvino", module=MODULE)
    return openvino_core()


def to_openvino(model: bytes, *, half: bool) -> IntermediateRepresentation:
    """Convert an ONNX file.

    Args:
        model: The fp32 or the U8S8 file.
        half: Whether to store float weights as fp16.

    Raises:
        MissingExtra: OpenVINO is not installed.
        ExportError: OpenVINO refuses the graph.
    """
    core = _core()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        try:
            load_openvino().save_model(core.read_model(model), str(path), compress_to_fp16=half)
        except RuntimeError as error:
            raise ExportError(f"OpenVINO refuses the graph: {error}") from error
        return IntermediateRepresentation(path.read_bytes(), path.with_suffix(".bin").read_bytes())


def open_openvino(files: IntermediateRepresentation, *, threads: int = 0) -> Runner:
    """Open IR on the CPU, computed in fp32 where it is not INT8.

    Args:
        files: The two files.
        threads: CPU threads; all if 0.

    Raises:
        MissingExtra: OpenVINO is not installed.
        ExportError: OpenVINO refuses the graph.
    """
    core = _core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = str(threads)
    try:
        graph = core.read_model(files.graph, load_openvino().Tensor(np.frombuffer(files.weights, np.uint8)))
        request = core.compile_model(graph, "CPU", settings).create_infer_request()
    except RuntimeError as error:
        raise ExportError(f"OpenVINO refuses the graph: {error}") from error

    def run(images: Image8) -> dict[str, Float32]:
        results = request.infer({"image": np.ascontiguousarray(images)})
        return {node.get_any_name(): np.array(value, np.float32) for node, value in results.items()}

    return run
