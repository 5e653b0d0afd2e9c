"""What each engine demands of a graph, checked on any graph, without the engine.

The rules of TensorRT are those of its ONNX parser (onnx-tensorrt 10.x, ``onnxOpImporters.cpp``) and of the chapter on
explicit quantisation in its developer guide; those of the CPU engines are what their integer kernels need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from edgebrain.errors import ExportError

from .formats import Layout
from .topology import WEIGHTED, constants, consumers, head_layers, layers, producers

MAX_OPSET = 20
"""The highest opset of TensorRT 10.3 (JetPack 6)."""
HALF_SCALES = 19
"""The first opset in which a scale may be fp16."""
_QUANTISE, _DEQUANTISE = "QuantizeLinear", "DequantizeLinear"
_PAIR = (_QUANTISE, _DEQUANTISE)
_FLOAT_ONLY = frozenset({"Softmax", "LogSoftmax", "LayerNormalization"})
_WEIGHT, _BIAS = 1, 2
_REDUCED = 64  # 7 bits: two products fit into the 16 bits of older x86


@dataclass
class _Facts:
    """A graph, looked at from every side once."""

    model: onnx.ModelProto

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.nodes = list(graph.node)
        self.quantisers = [node for node in self.nodes if node.op_type in _PAIR]
        self.made_by = producers(graph)
        self.given = constants(graph)
        self.read_by = consumers(graph)
        self.opset = next((o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx")), 0)
        self.layers = set(layers(graph))
        self.heads = head_layers(graph)

    @cached_property
    def types(self) -> dict[str, int]:
        """Element type of every tensor that can be told."""
        try:
            graph = onnx.shape_inference.infer_shapes(self.model).graph
        except onnx.shape_inference.InferenceError:  # an operator that nobody knows; another rule says so
            graph = self.model.graph
        infos = [*graph.value_info, *graph.input, *graph.output]
        found = {i.name: i.type.tensor_type.elem_type for i in infos}
        return {**found, **{name: tensor.data_type for name, tensor in self.given.items()}}

    def array(self, node: onnx.NodeProto, place: int) -> np.ndarray | None:
        """A constant input, or None where it is none."""
        tensor = self.given.get(node.input[place]) if len(node.input) > place else None
        return None if tensor is None else numpy_helper.to_array(tensor)

    def zero_type(self, node: onnx.NodeProto) -> int:
        """Type of a pair's 8-bit side; unsigned is what a missing zero point means."""
        if len(node.input) > _BIAS and node.input[_BIAS]:
            return self.types.get(node.input[_BIAS], 0)
        return self.types.get(node.input[0], 0) if node.op_type == _DEQUANTISE else int(TensorProto.UINT8)

    def dequantised(self, name: str) -> bool:
        """Whether a tensor comes from 8 bits."""
        return name in self.made_by and self.made_by[name].op_type == _DEQUANTISE

    def is_weight(self, node: onnx.NodeProto) -> bool:
        """Whether a pair's node is about a constant."""
        source = node.input[0]
        maker = self.made_by.get(source)
        return source in self.given or (
            maker is not None and maker.op_type == _QUANTISE and maker.input[0] in self.given
        )


Rule = Callable[[_Facts], Iterator[str]]


def violations(model: onnx.ModelProto, layout: Layout) -> list[str]:
    """Every rule of a layout that a graph breaks, in words; empty where its engine can run it as meant.

    Args:
        model: Any graph.
        layout: U8S8, U8S8_REDUCED, S8S8_TRT or FP16_TRT.
    """
    facts = _Facts(model)
    return [text for rule in _RULES[layout] for text in rule(facts)]


def check_layout(model: onnx.ModelProto, layout: Layout) -> None:
    """Refuse a graph that its engine would refuse, or run in another way than meant.

    Raises:
        ExportError: A rule is broken.
    """
    found = violations(model, layout)
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise ExportError(f"The graph breaks the {layout.value} layout: {found[0]}{more}.")


def _order(facts: _Facts) -> Iterator[str]:
    known = {*facts.given, *(i.name for i in facts.model.graph.input), ""}
    for node in facts.nodes:
        if not set(node.input) <= known:
            yield f"{node.name} comes before what it reads"
        known.update(node.output)


def _opset(facts: _Facts) -> Iterator[str]:
    if facts.opset > MAX_OPSET:
        yield f"opset {facts.opset} is above {MAX_OPSET}"


def _half_opset(facts: _Facts) -> Iterator[str]:
    if facts.opset < HALF_SCALES:
        yield f"opset {facts.opset} is below {HALF_SCALES}, the first with scales in fp16"


def _standard(facts: _Facts) -> Iterator[str]:
    for node in facts.nodes:
        if node.domain not in ("", "ai.onnx"):
            yield f"{node.name} is {node.domain}.{node.op_type}, no standard operator"


def _outputs(facts: _Facts) -> Iterator[str]:
    for output in facts.model.graph.output:
        if output.type.tensor_type.elem_type != TensorProto.FLOAT:
            yield f"the output {output.name} is not float32"


def _scales(facts: _Facts) -> Iterator[str]:
    for node in facts.quantisers:
        scale, zero = facts.array(node, _WEIGHT), facts.array(node, _BIAS)
        if scale is None:
            yield f"the scale of {node.name} is no constant"
        elif not (np.isfinite(scale).all() and (scale > 0).all()):
            yield f"a scale of {node.name} is not above 0 and finite"
        elif zero is not None and zero.size != scale.size:
            yield f"{node.name} has {scale.size} scales and {zero.size} zero points"


def _axes(facts: _Facts) -> Iterator[str]:
    for node in facts.nodes:
        if node.name not in facts.layers or not facts.dequantised(node.input[_WEIGHT]):
            continue
        pair = facts.made_by[node.input[_WEIGHT]]
        scale = facts.array(pair, _WEIGHT)
        axis = next((a.i for a in pair.attribute if a.name == "axis"), 1)
        transposed = node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute)
        right = 0 if node.op_type == "Conv" or transposed else 1
        if scale is not None and scale.size > 1 and axis != right:
            yield f"the weights of {node.name} have a scale along axis {axis}, not {right}"


def _activations_one_scale(facts: _Facts) -> Iterator[str]:
    for node in facts.quantisers:
        scale = facts.array(node, _WEIGHT)
        if scale is not None and scale.size > 1 and not facts.is_weight(node):
            yield f"{node.name} has {scale.size} scales for an activation"


def _unsigned_activations(facts: _Facts) -> Iterator[str]:
    for node in facts.quantisers:
        found, zero = facts.zero_type(node), facts.array(node, _BIAS)
        if not facts.is_weight(node) and found != TensorProto.UINT8:
            yield f"{node.name} makes an activation {TensorProto.DataType.Name(found)}, not UINT8"
        elif facts.is_weight(node) and found not in (TensorProto.INT8, TensorProto.INT32):
            yield f"{node.name} makes a weight {TensorProto.DataType.Name(found)}, not INT8"
        elif facts.is_weight(node) and zero is not None and zero.any():
            yield f"{node.name} has a zero point for weights"


def _symmetric(facts: _Facts) -> Iterator[str]:
    for node in facts.quantisers:
        found, zero = facts.zero_type(node), facts.array(node, _BIAS)
        if found != TensorProto.INT8:
            yield f"{node.name} works on {TensorProto.DataType.Name(found)}, not INT8"
        if zero is not None and zero.any():
            yield f"{node.name} has a zero point other than 0"


def _scale_types(facts: _Facts) -> Iterator[str]:
    for node in facts.quantisers:
        scale = facts.types.get(node.input[_WEIGHT])
        name = node.input[0] if node.op_type == _QUANTISE else node.output[0]
        if scale != facts.types.get(name):
            yield f"the scale of {node.name} has another type than {name}"


def _no_bias(facts: _Facts) -> Iterator[str]:
    for node in facts.nodes:
        if node.op_type in WEIGHTED and len(node.input) > _BIAS and facts.dequantised(node.input[_BIAS]):
            yield f"the bias of {node.name} is quantised"


def _placement(facts: _Facts) -> Iterator[str]:
    for node in facts.nodes:
        if node.op_type == _DEQUANTISE:
            readers = facts.read_by.get(node.output[0], [])
            into_layer = any(r.op_type in WEIGHTED for r in readers)
            for reader in readers:
                if reader.op_type not in WEIGHTED and not (into_layer and reader.op_type == "Add"):
                    yield f"{node.name} hands 8 bits to {reader.name} ({reader.op_type}), no layer with weights"
        elif node.name in facts.layers and facts.dequantised(node.input[0]) != facts.dequantised(node.input[_WEIGHT]):
            yield f"{node.name} has 8 bits on one input only"


def _pairs(facts: _Facts) -> Iterator[str]:
    for node in facts.nodes:
        if node.op_type == _QUANTISE:
            readers = facts.read_by.get(node.output[0], [])
            if not readers or any(r.op_type != _DEQUANTISE for r in readers):
                yield f"{node.name} is not followed by a DequantizeLinear"
            elif any(list(r.input[1:]) != list(node.input[1:]) for r in readers):
                yield f"{node.name} and its DequantizeLinear have different scales or zero points"


def _float_ends(facts: _Facts) -> Iterator[str]:
    for node in facts.nodes:
        if node.name in facts.heads and facts.dequantised(node.input[_WEIGHT]):
            yield f"{node.name} is the head and has 8-bit weights"
        if node.op_type in _FLOAT_ONLY and any(map(facts.dequantised, node.input)):
            yield f"{node.name} is a {node.op_type} and reads 8 bits"


def _quantised(facts: _Facts) -> Iterator[str]:
    if not facts.quantisers:
        yield "nothing in it is quantised"


def _not_quantised(facts: _Facts) -> Iterator[str]:
    for node in facts.quantisers:
        yield f"{node.name} is a {node.op_type}"


def _half_layers(facts: _Facts) -> Iterator[str]:
    for node in facts.nodes:
        if node.name in facts.layers - facts.heads and facts.types.get(node.input[_WEIGHT]) != TensorProto.FLOAT16:
            yield f"the weights of {node.name} are not fp16"


def _reduced(facts: _Facts) -> Iterator[str]:
    for node in facts.quantisers:
        values = facts.array(node, 0)
        if node.op_type == _DEQUANTISE and values is not None and values.dtype == np.int8:
            largest = int(np.abs(values.astype(np.int16)).max(initial=0))
            if largest > _REDUCED:
                yield f"{node.input[0]} uses 8 bits ({largest}), not 7"


_COMMON: tuple[Rule, ...] = (_order, _opset, _standard, _outputs)
_PAIRED: tuple[Rule, ...] = (_quantised, _scales, _axes, _activations_one_scale, _float_ends)
_CPU: tuple[Rule, ...] = (*_COMMON, *_PAIRED, _unsigned_activations)
_RULES: dict[Layout, tuple[Rule, ...]] = {
    Layout.U8S8: _CPU,
    Layout.U8S8_REDUCED: (*_CPU, _reduced),
    Layout.S8S8_TRT: (
        *_COMMON,
        _half_opset,
        *_PAIRED,
        _symmetric,
        _scale_types,
        _no_bias,
        _placement,
        _pairs,
        _half_layers,
    ),
    Layout.FP16_TRT: (*_COMMON, _not_quantised, _half_layers),
}
