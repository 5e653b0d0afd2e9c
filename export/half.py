"""FP16 for TensorRT: a typed graph, because strongly typed networks compute in exactly the types that the file says.

The normalisation at the entrance, softmax, layer normalisation, and the head with all behind it stay in fp32. There is
one cast for every tensor that crosses between the two, so that nothing else changes and the nodes stay in order.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgebrain.errors import ExportError

from .topology import after_layers, entrance

_WIDE = frozenset({"Softmax", "LogSoftmax", "LayerNormalization"})
_PAIR = frozenset({"QuantizeLinear", "DequantizeLinear"})
_FLOAT, _HALF = int(TensorProto.FLOAT), int(TensorProto.FLOAT16)
_SUFFIX = {_FLOAT: "_fp32", _HALF: "_fp16"}


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Type a float graph, or one with Q/DQ nodes, as fp16.

    Args:
        model: Opset 19 or later, for scales in fp16; inputs uint8, outputs float32. It is not changed.

    Returns:
        The typed graph with the same inputs and outputs.

    Raises:
        ExportError: A weight does not fit into fp16.
    """
    return _Typed(model).result


class _Typed:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.result = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        graph = self.result.graph
        wide = entrance(graph) | after_layers(graph) | {n.name for n in graph.node if n.op_type in _WIDE}
        # A cast between a pair and its layer would keep TensorRT from making one 8-bit layer of them.
        self._wide = wide - {n.name for n in graph.node if n.op_type in _PAIR}
        infos = [*graph.value_info, *graph.input, *graph.output]
        self._floats = {i.name for i in infos if i.type.tensor_type.elem_type == _FLOAT}
        self._given = {t.name: t for t in graph.initializer if t.data_type == _FLOAT}
        self._types = {i.name: _FLOAT for i in graph.input if i.name in self._floats}
        self._outputs = {o.name for o in graph.output}
        self._nodes: list[onnx.NodeProto] = []
        self._made: dict[str, str] = {}
        self._halves: list[onnx.TensorProto] = []
        for node in list(graph.node):
            self._add(node)
        self._replace(graph)

    def _add(self, node: onnx.NodeProto) -> None:
        wanted = _FLOAT if node.name in self._wide else _HALF
        for place, name in enumerate(node.input):
            node.input[place] = self._as(name, wanted)
        if wanted == _HALF:
            _retype(node)
        behind: list[onnx.NodeProto] = []
        for place, name in enumerate(node.output):
            if name not in self._floats:
                continue
            if wanted == _HALF and name in self._outputs:
                node.output[place] = name + _SUFFIX[_HALF]
                self._made[name + _SUFFIX[_HALF]] = node.output[place]
                behind.append(_cast(node.output[place], name, _FLOAT))
                self._types[name] = _FLOAT
            else:
                self._types[name] = wanted
        self._nodes += [node, *behind]

    def _as(self, name: str, wanted: int) -> str:
        """Name of a tensor in the wanted type; made where it is missing."""
        if name in self._given:
            return name if wanted == _FLOAT else self._half_of(name)
        if self._types.get(name, wanted) == wanted:
            return name
        other = name + _SUFFIX[wanted]
        if other not in self._made:
            self._made[other] = other
            self._nodes.append(_cast(name, other, wanted))
        return other

    def _half_of(self, name: str) -> str:
        other = name + _SUFFIX[_HALF]
        if other not in self._made:
            self._made[other] = other
            self._halves.append(_narrow(self._given[name], other))
        return other

    def _replace(self, graph: onnx.GraphProto) -> None:
        used = {name for node in self._nodes for name in node.input}
        kept = [t for t in graph.initializer if t.name in used]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self._nodes)
        graph.initializer.extend([*kept, *self._halves])


def _retype(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _FLOAT:
            attribute.i = _HALF
        elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == _FLOAT:
            attribute.t.CopyFrom(_narrow(attribute.t, attribute.t.name))


def _narrow(tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
    with np.errstate(over="ignore"):
        values = numpy_helper.to_array(tensor).astype(np.float16)
    if not np.isfinite(values).all():
        raise ExportError(f"The weight {tensor.name} does not fit into fp16.", remedy="Use fp32 or int8 on CPUs.")
    return numpy_helper.from_array(values, name)


def _cast(source: str, result: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [result], name=f"cast_{result}", to=to)
