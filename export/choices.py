"""What can be asked for on the command line."""

from __future__ import annotations

from enum import Enum


class FormatChoice(str, Enum):
    """What files are made for."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"
    ALL = "all"
