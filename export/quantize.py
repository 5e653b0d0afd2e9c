"""INT8 from one calibration in two layouts: one for CPUs, one for TensorRT. No file can serve both.

* **U8S8** for ONNX Runtime and OpenVINO: activations are unsigned with a zero point, so that a ReLU disappears into it;
  weights are signed, one scale a channel. CPUs run it with integer kernels throughout.
* **S8S8** for TensorRT, whose parser refuses unsigned tensors, zero points and integer biases: everything symmetric,
  Q/DQ only on the inputs of layers with weights (NVIDIA, TensorRT Developer Guide, "Explicit quantization").

Normalisation at the entrance, the head and every softmax stay in float: they cost nothing and decide the probabilities.
Of a transformer only layers with weights are quantised.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

from edgebrain.errors import ExportError

from .formats import Layout
from .half import to_half
from .ranges import Ranges
from .topology import (
    WEIGHTED,
    constants,
    consumers,
    entrance,
    head_layers,
    is_transformer,
    keep_properties,
    layers,
    producers,
)

# Relu and Clip are named so that they disappear into the zero point of the tensor before them; without that each costs
# a way to float and back. Pooling and joining only hand 8-bit numbers on.
_CONVOLUTIONAL = ["Conv", "Gemm", "MatMul", "Add", "Relu", "Clip", "MaxPool", "Concat"]
_PAIR = frozenset({"QuantizeLinear", "DequantizeLinear"})
_LAYERS = ["Conv", "Gemm", "MatMul"]
_TENSORRT = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "AddQDQPairToWeight": True,
    "QDQKeepRemovableActivations": True,
    "OpTypesToExcludeOutputQuantization": _LAYERS,
}


def quantize(
    model: onnx.ModelProto, ranges: Ranges, layout: Layout, keep_float: Collection[str] = ()
) -> onnx.ModelProto:
    """Quantise a simplified float graph.

    Args:
        model: The graph, see :func:`edgebrain.export.ranges.simplified`.
        ranges: Its calibration.
        layout: U8S8, U8S8_REDUCED or S8S8_TRT.
        keep_float: Names of further layers that stay in float.

    Returns:
        The INT8 graph, with the metadata of the float one.

    Raises:
        ExportError: There is nothing to quantise, or the ranges are not those of this graph.
    """
    if not quantisable(model.graph):
        raise ExportError("The graph has no layer beside its head; there is nothing to quantise.")
    weighted = set(layers(model.graph))
    missing = [n.output[0] for n in model.graph.node if n.name in weighted and not _known(n, ranges)]
    if missing:
        raise ExportError(
            f"The calibration ranges do not know the tensor {missing[0]}.", remedy="Calibrate again with --calibration."
        )
    types, excluded = _chosen(model.graph, layout, keep_float)
    result = _quantised(model, ranges, layout, types, excluded)
    keep_properties(model, result)
    if layout is Layout.S8S8_TRT:
        _only_into_layers(result.graph)
        result = to_half(result)
    return result


def quantisable(graph: onnx.GraphProto) -> list[str]:
    """Names of the layers that may become INT8: all but the head."""
    heads = head_layers(graph)
    return [name for name in layers(graph) if name not in heads]


def _known(node: onnx.NodeProto, ranges: Ranges) -> bool:
    return node.input[0] in ranges.tensors and node.output[0] in ranges.tensors


def _chosen(graph: onnx.GraphProto, layout: Layout, keep_float: Collection[str]) -> tuple[list[str], list[str]]:
    weighted = set(layers(graph))
    types = _LAYERS if layout is Layout.S8S8_TRT or is_transformer(graph) else _CONVOLUTIONAL
    # Small additions of the normalisation would drown in 8 bits; a product of two activations has no weights.
    excluded = {*entrance(graph), *head_layers(graph), *keep_float}
    excluded |= {n.name for n in graph.node if n.op_type in WEIGHTED and n.name not in weighted}
    return types, [node.name for node in graph.node if node.name in excluded]


def _quantised(
    model: onnx.ModelProto, ranges: Ranges, layout: Layout, types: list[str], excluded: list[str]
) -> onnx.ModelProto:
    options: dict[str, Any] = dict(_TENSORRT) if layout is Layout.S8S8_TRT else {}
    if is_transformer(model.graph):
        options["OpTypesToExcludeOutputQuantization"] = _LAYERS
    level = logging.getLogger().level
    logging.getLogger().setLevel(max(logging.ERROR, level))  # the quantiser talks to the root logger
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ready.onnx"
            onnx.save(model, str(path))
            quantizer = QDQQuantizer(
                load_model_with_shape_infer(path),
                True,  # noqa: FBT003 - one scale a channel
                layout is Layout.U8S8_REDUCED,
                QuantType.QInt8,
                QuantType.QInt8 if layout is Layout.S8S8_TRT else QuantType.QUInt8,
                ranges.for_quantiser(),
                [],
                excluded,
                types,
                options,
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()
    finally:
        logging.getLogger().setLevel(level)
    result: onnx.ModelProto = quantizer.model.model
    return result


def _only_into_layers(graph: onnx.GraphProto) -> None:
    """Let every other reader of a quantised tensor have the float one, but for the shortcut of an addition."""
    readers, made_by = consumers(graph), producers(graph)
    eight = {n.name for n in graph.node if n.op_type in WEIGHTED and _dequantised(n, made_by)}
    quantised = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "QuantizeLinear"}
    outputs = {output.name for output in graph.output}
    for node in list(graph.node):
        if node.op_type != "DequantizeLinear" or node.input[0] not in quantised:
            continue
        source, name = quantised[node.input[0]], node.output[0]
        reads = readers.get(name, [])
        useful = any(reader.name in eight for reader in reads)
        for reader in reads:
            if reader.name in eight or (useful and reader.op_type == "Add"):
                continue
            for place, value in enumerate(reader.input):
                reader.input[place] = source if value == name else value
        if name in outputs:
            raise ExportError(f"The output {name} would be quantised.")
    _without_dead_ends(graph)


def _dequantised(node: onnx.NodeProto, made_by: dict[str, onnx.NodeProto]) -> bool:
    maker = made_by.get(node.input[1])
    return maker is not None and maker.op_type == "DequantizeLinear"


def _without_dead_ends(graph: onnx.GraphProto) -> None:
    outputs = {output.name for output in graph.output}
    while True:
        read = outputs | {name for node in graph.node for name in node.input}
        dead = [n for n in graph.node if n.op_type in _PAIR and not read & set(n.output)]
        if not dead:
            break
        for node in dead:
            graph.node.remove(node)
    read = {name for node in graph.node for name in node.input}
    for name, tensor in constants(graph).items():
        if name not in read and tensor in graph.initializer:
            graph.initializer.remove(tensor)


def calibration_choice(targets: np.ndarray[Any, np.dtype[np.int64]], count: int, seed: int) -> list[int]:
    """Choose calibration scans, equally from every class.

    Args:
        targets: int64 [N] class of each scan.
        count: How many to choose, at most.
        seed: Seed of the choice.

    Returns:
        Indices, shuffled.
    """
    rng = np.random.default_rng(seed)
    classes = np.unique(targets)
    share = max(1, count // len(classes))
    chosen = [rng.permutation(np.flatnonzero(targets == k))[:share] for k in classes]
    return [int(i) for i in rng.permutation(np.concatenate(chosen))]
