"""The rules of every layout: what is made keeps them, and each can be broken by a graph built by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra 'export' brings onnx")
pytest.importorskip("torch", reason="the package edgebrain.export needs the extra 'export'")

import onnx
from onnx import TensorProto, helper, numpy_helper

from edgebrain.errors import ExportError
from edgebrain.export.formats import Layout
from edgebrain.export.layouts import check_layout, violations

Edit = Callable[[onnx.ModelProto], None]


def constant(name: str, values: object, dtype: type[np.generic]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def pair(source: str, scale: str, zero: str, axis: int = 0) -> list[onnx.NodeProto]:
    return [
        helper.make_node("QuantizeLinear", [source, scale, zero], [f"{source}_q"], name=f"q_{source}", axis=axis),
        helper.make_node(
            "DequantizeLinear", [f"{source}_q", scale, zero], [f"{source}_dq"], name=f"dq_{source}", axis=axis
        ),
    ]


def tensorrt_graph() -> onnx.ModelProto:
    """Image, cast, a quantised convolution, Relu, and a head in fp32: what the TensorRT layout wants."""
    half, zero = np.float16, constant("zero", 0, np.int8)
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], name="cast", to=TensorProto.FLOAT16),
        *pair("x", "x_scale", "zero"),
        *pair("w", "w_scale", "w_zero"),
        helper.make_node("Conv", ["x_dq", "w_dq", "b"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Cast", ["r"], ["wide"], name="widen", to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["wide"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "head"], ["logits"], name="gemm"),
    ]
    given = [
        constant("x_scale", 0.1, half),
        zero,
        constant("w", np.ones((2, 1, 3, 3)), half),
        constant("w_scale", [0.1, 0.2], half),
        constant("w_zero", [0, 0], np.int8),
        constant("b", [0.0, 0.0], half),
        constant("head", np.ones((8, 3)), np.float32),
    ]
    return model_of(nodes, given)


def cpu_graph() -> onnx.ModelProto:
    """The same for CPUs: unsigned activations, weights in 8 bits, everything else fp32."""
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], name="cast", to=TensorProto.FLOAT),
        *pair("x", "x_scale", "zero"),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_dq"], name="dq_w", axis=0),
        helper.make_node("Conv", ["x_dq", "w_dq"], ["c"], name="conv"),
        helper.make_node("Flatten", ["c"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "head"], ["logits"], name="gemm"),
    ]
    given = [
        constant("x_scale", 0.1, np.float32),
        constant("zero", 7, np.uint8),
        constant("w", np.full((2, 1, 3, 3), 60), np.int8),
        constant("w_scale", [0.1, 0.2], np.float32),
        constant("w_zero", [0, 0], np.int8),
        constant("head", np.ones((8, 3)), np.float32),
    ]
    return model_of(nodes, given)


def model_of(nodes: list[onnx.NodeProto], given: list[onnx.TensorProto]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "hand",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 1, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        given,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def put(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    """Replace a constant."""
    next(t for t in model.graph.initializer if t.name == tensor.name).CopyFrom(tensor)


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    (found,) = (n for n in model.graph.node if n.name == name)
    assert isinstance(found, onnx.NodeProto)
    return found


def reversed_order(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def pair_before_relu(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    place = nodes.index(node(model, "relu"))
    nodes[place:place] = pair("c", "x_scale", "zero")
    node(model, "relu").input[0] = "c_dq"
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def quantised_bias(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(constant("b8", [1, 1], np.int32))
    extra = helper.make_node("DequantizeLinear", ["b8", "w_scale"], ["b_dq"], name="dq_b", axis=0)
    nodes = list(model.graph.node)
    node(model, "conv").input[2] = "b_dq"
    del model.graph.node[:]
    model.graph.node.extend([extra, *nodes])


def quantised_head(model: onnx.ModelProto) -> None:
    model.graph.initializer.extend([constant("h_scale", 0.1, np.float32), constant("h_zero", 0, np.int8)])
    nodes = list(model.graph.node)
    node(model, "gemm").input[1] = "head_dq"
    del model.graph.node[:]
    model.graph.node.extend([*pair("head", "h_scale", "h_zero"), *nodes])


def opset(version: int) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = version

    return edit


def foreign(model: onnx.ModelProto) -> None:
    node(model, "relu").domain = "com.microsoft"


def axis(model: onnx.ModelProto) -> None:
    for name in ("q_w", "dq_w"):
        if any(n.name == name for n in model.graph.node):
            node(model, name).attribute[0].i = 1


def half_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def float_weight(model: onnx.ModelProto) -> None:
    node(model, "conv").input[1] = "w"


def unsigned_weights(model: onnx.ModelProto) -> None:
    put(model, constant("w", np.full((2, 1, 3, 3), 60), np.uint8))
    put(model, constant("w_zero", [0, 0], np.uint8))


def computed_scale(model: onnx.ModelProto) -> None:
    node(model, "q_x").input[1] = node(model, "dq_x").input[1] = "x"


TENSORRT: list[tuple[Edit, str]] = [
    (lambda m: put(m, constant("zero", 3, np.int8)), "zero point other than 0"),
    (lambda m: put(m, constant("zero", 0, np.uint8)), "works on UINT8, not INT8"),
    (lambda m: put(m, constant("x_scale", 0.1, np.float32)), "the scale of q_x has another type than x"),
    (lambda m: put(m, constant("x_scale", 0, np.float16)), "not above 0 and finite"),
    (lambda m: put(m, constant("x_scale", np.inf, np.float16)), "not above 0 and finite"),
    (lambda m: put(m, constant("w_zero", [0], np.int8)), "2 scales and 1 zero points"),
    (lambda m: put(m, constant("x_scale", [0.1, 0.1], np.float16)), "2 scales for an activation"),
    (lambda m: put(m, constant("w", np.ones((2, 1, 3, 3)), np.float32)), "another type than w"),
    (pair_before_relu, "hands 8 bits to relu (Relu), no layer with weights"),
    (quantised_bias, "the bias of conv is quantised"),
    (quantised_bias, "dq_b works on INT32"),
    (quantised_head, "gemm is the head and has 8-bit weights"),
    (float_weight, "conv has 8 bits on one input only"),
    (computed_scale, "the scale of q_x is no constant"),
    (axis, "along axis 1, not 0"),
    (opset(21), "opset 21 is above 20"),
    (opset(18), "opset 18 is below 19"),
    (reversed_order, "comes before what it reads"),
    (foreign, "no standard operator"),
    (half_output, "the output logits is not float32"),
]
CPU: list[tuple[Edit, str]] = [
    (lambda m: put(m, constant("zero", 0, np.int8)), "makes an activation INT8, not UINT8"),
    (unsigned_weights, "makes a weight UINT8"),
    (lambda m: put(m, constant("w_zero", [0, 1], np.int8)), "zero point for weights"),
    (lambda m: put(m, constant("x_scale", -1, np.float32)), "not above 0 and finite"),
    (quantised_head, "gemm is the head"),
    (axis, "along axis 1, not 0"),
    (reversed_order, "comes before what it reads"),
    (opset(21), "opset 21 is above 20"),
]


def test_graphs_built_by_the_rules_keep_them() -> None:
    assert violations(tensorrt_graph(), Layout.S8S8_TRT) == []
    assert violations(cpu_graph(), Layout.U8S8) == []
    assert violations(cpu_graph(), Layout.U8S8_REDUCED) == []
    onnx.checker.check_model(tensorrt_graph(), full_check=True)
    onnx.checker.check_model(cpu_graph(), full_check=True)


@pytest.mark.parametrize(("edit", "said"), TENSORRT, ids=[said for _, said in TENSORRT])
def test_every_rule_of_tensorrt_can_be_broken(edit: Edit, said: str) -> None:
    model = tensorrt_graph()
    edit(model)
    found = violations(model, Layout.S8S8_TRT)
    assert any(said in text for text in found), found


@pytest.mark.parametrize(("edit", "said"), CPU, ids=[said for _, said in CPU])
def test_every_rule_of_cpus_can_be_broken(edit: Edit, said: str) -> None:
    model = cpu_graph()
    edit(model)
    found = violations(model, Layout.U8S8)
    assert any(said in text for text in found), found


def test_seven_bits_are_seven_bits() -> None:
    model = cpu_graph()
    put(model, constant("w", np.full((2, 1, 3, 3), -100), np.int8))
    assert violations(model, Layout.U8S8) == []
    assert violations(model, Layout.U8S8_REDUCED) == ["w uses 8 bits (100), not 7"]


def test_no_file_serves_both() -> None:
    assert violations(cpu_graph(), Layout.S8S8_TRT)
    assert violations(tensorrt_graph(), Layout.U8S8)


def test_fp16_is_typed_and_has_no_pairs() -> None:
    assert any("QuantizeLinear" in text for text in violations(tensorrt_graph(), Layout.FP16_TRT))
    assert any("not fp16" in text for text in violations(cpu_graph(), Layout.FP16_TRT))


def test_all_violations_are_told_and_the_first_stops_an_export() -> None:
    model = tensorrt_graph()
    for edit in (opset(21), half_output):
        edit(model)
    assert len(violations(model, Layout.S8S8_TRT)) >= 2
    with pytest.raises(ExportError, match=r"breaks the s8s8-trt layout: .* and 1 more"):
        check_layout(model, Layout.S8S8_TRT)
