from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgebrain.export.graph_weights import weights_of


def graph_of(integers: np.ndarray, scale: np.ndarray, zero: np.ndarray | None, **attributes: Any) -> bytes:
    """A graph that adds one dequantised tensor to its input."""
    stored = {"w_quantized": integers, "scale": scale, "bias": np.array([0.25], np.float32), "two": np.array([2])}
    inputs = ["w_quantized", "scale"]
    if zero is not None:
        stored["zero"] = zero
        inputs.append("zero")
    nodes = [
        helper.make_node("DequantizeLinear", inputs, ["w"], **attributes),
        helper.make_node("Add", ["x", "w"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, integers.shape) for name in ("x", "y")]
    tensors = [numpy_helper.from_array(values, name) for name, values in stored.items()]
    model = helper.make_model(helper.make_graph(nodes, "one", ends[:1], ends[1:], tensors))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("kind", [np.int8, np.int32])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_integers_are_multiplied_out_along_their_axis(axis: int, kind: type[np.signedinteger]) -> None:
    integers = np.arange(-3, 3).reshape(2, 3).astype(kind)
    scale = np.array([0.5, 0.25, 2.0], np.float32)[: integers.shape[axis]]
    zero = np.zeros(len(scale), kind) if kind is np.int32 else np.arange(len(scale)).astype(kind)
    shape = [-1, 1] if axis == 0 else [1, -1]
    found = weights_of(graph_of(integers, scale, zero, axis=axis))
    expected = (integers - zero.reshape(shape)) * scale.reshape(shape)
    assert found["w"].dtype == found["bias"].dtype
    np.testing.assert_array_equal(found["w"].numpy(), expected)


def test_one_scale_for_all_needs_no_axis_and_no_zero_point() -> None:
    integers = np.array([[-2, 0, 5]], np.int8)
    found = weights_of(graph_of(integers, np.array(0.5, np.float32), None))
    np.testing.assert_array_equal(found["w"].numpy(), [[-1.0, 0.0, 2.5]])


def test_a_scale_for_every_block_is_refused_not_misread() -> None:
    blocks = graph_of(np.zeros((2, 2), np.int8), np.ones((2, 1), np.float32), None, axis=1, block_size=2)
    with pytest.raises(ValueError, match="w_quantized has a scale for every block"):
        weights_of(blocks)


def test_floats_come_as_they_are_and_other_integers_do_not_come_at_all() -> None:
    found = weights_of(graph_of(np.array([1], np.int8), np.array(1.0, np.float32), None))
    assert found.keys() == {"w", "scale", "bias"}
    assert found["bias"].item() == 0.25
