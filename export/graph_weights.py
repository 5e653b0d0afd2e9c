"""The weights in a graph for inference, in float32 whether they are kept in floats or in 8 bits."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from edgebrain.types import Float32

_QUANTIZED = "_quantized"
"""What ONNX Runtime's quantiser adds to the name of a tensor whose numbers it keeps as integers."""


def weights_of(graph: bytes) -> dict[str, Tensor]:
    """Every stored tensor of real numbers.

    Integers with a scale are multiplied out (``DequantizeLinear`` of the ONNX specification); what rounding took away
    stays away: up to half a step of the scale.

    Args:
        graph: An ONNX file without external data.

    Returns:
        float32 tensors under the names that they had before they were quantised.

    Raises:
        KeyError: A scale or a zero point is not stored, but computed.
        ValueError: A scale is neither one number nor one for each channel.
    """
    model = onnx.load_from_string(graph).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.initializer}
    found = {name: values for name, values in stored.items() if values.dtype == np.float32}
    for node in model.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            found[node.input[0].removesuffix(_QUANTIZED)] = _real(node, stored)
    return {name: torch.from_numpy(values.copy()) for name, values in found.items()}


def _real(node: onnx.NodeProto, stored: dict[str, np.ndarray]) -> Float32:
    integers, scale, *zero = (stored[name] for name in node.input)
    if scale.ndim > 1:
        raise ValueError(f"{node.input[0]} has a scale for every block, which no exporter here writes")
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    shape = [-1 if place == axis % integers.ndim else 1 for place in range(integers.ndim)] if scale.ndim else []
    offset = zero[0].reshape(shape).astype(np.float64) if zero else 0.0
    return np.asarray((integers.astype(np.float64) - offset) * scale.reshape(shape).astype(np.float64), np.float32)
