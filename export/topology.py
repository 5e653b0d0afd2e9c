"""What a graph is made of: layers with weights, the head, the normalisation at the entrance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import onnx

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that can carry weights."""
_TRANSFORMER = "LayerNormalization"
_NOT_ANSWERS = frozenset({"embedding"})
"""Outputs in front of the head; the layer that makes them is no head."""


def producers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """The node that makes each tensor, by the tensor's name."""
    return {name: node for node in graph.node for name in node.output if name}


def constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Tensors that the file gives, by name."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            found.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
    return found


def weight_of(node: onnx.NodeProto, graph: onnx.GraphProto) -> str | None:
    """Name of the constant that a layer multiplies with; None for other nodes.

    A weight that is quantised and dequantised, or cast, on its way to the layer counts.
    """
    return _weight(node, producers(graph), constants(graph))


def _weight(node: onnx.NodeProto, made_by: dict[str, onnx.NodeProto], given: dict[str, onnx.TensorProto]) -> str | None:
    if node.op_type not in WEIGHTED or len(node.input) <= 1:
        return None
    name = str(node.input[1])
    while name not in given:
        maker = made_by.get(name)
        if maker is None or maker.op_type not in {"DequantizeLinear", "QuantizeLinear", "Cast", "Identity"}:
            return None
        name = str(maker.input[0])
    return name


def layers(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that have weights, in the order of the graph."""
    made_by, given = producers(graph), constants(graph)
    return [node.name for node in graph.node if _weight(node, made_by, given) is not None]


def head_layers(graph: onnx.GraphProto) -> set[str]:
    """Layers whose numbers are answers: between them and an output (all but ``embedding``) there is no other layer."""
    weighted = set(layers(graph))
    heads, _ = _walk(graph, weighted)
    return heads


def after_layers(graph: onnx.GraphProto) -> set[str]:
    """Names of the head's layers and of everything behind them."""
    heads, behind = _walk(graph, set(layers(graph)))
    return heads | behind


def _walk(graph: onnx.GraphProto, weighted: set[str]) -> tuple[set[str], set[str]]:
    made_by = producers(graph)
    waiting = [output.name for output in graph.output if output.name not in _NOT_ANSWERS]
    heads: set[str] = set()
    behind: set[str] = set()
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        node = made_by.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.name in weighted:
            heads.add(node.name)
        else:
            behind.add(node.name)
            waiting.extend(node.input)
    return heads, behind


def entrance(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes in front of the first layer of their path: the normalisation of the image."""
    weighted, image = set(layers(graph)), {entry.name for entry in graph.input}
    touched: set[str] = set()
    found: set[str] = set()
    for node in graph.node:
        if node.name in weighted or touched & set(node.input):
            touched.update(node.output)
        elif image & set(node.input):
            image.update(node.output)
            found.add(node.name)
    return found


def is_transformer(graph: onnx.GraphProto) -> bool:
    """Whether the network normalises layers, as transformers do."""
    return any(node.op_type == _TRANSFORMER for node in graph.node)


def consumers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each tensor, by the tensor's name."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def name_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    """Give a name to every node that has none; layers are told apart by their names."""
    for number, node in enumerate(nodes):
        node.name = node.name or f"{node.op_type}_{number}"


def keep_properties(source: onnx.ModelProto, model: onnx.ModelProto) -> None:
    """Give a graph what another one says of itself, and nothing that tools have noted in between."""
    ours = {p.key: p.value for p in source.metadata_props if p.key.startswith("edgebrain.")}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, ours)
    drop_notes(model)


def drop_notes(model: onnx.ModelProto) -> None:
    """Take out what exporters note on nodes and tensors: source lines, with the paths of the machine they ran on."""
    functions = [(f, f.node, f.value_info) for f in model.functions]
    graphs = [model.graph, *_subgraphs(model.graph.node), *(g for _, nodes, _ in functions for g in _subgraphs(nodes))]
    noted: list[Any] = [*graphs, *(f for f, _, _ in functions)]
    for graph in graphs:
        noted += [*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer]
    for _, nodes, values in functions:
        noted += [*nodes, *values]
    for entry in noted:
        del entry.metadata_props[:]
        entry.ClearField("doc_string")


def _subgraphs(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield graph
                yield from _subgraphs(graph.node)
