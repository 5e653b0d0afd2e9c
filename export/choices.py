"""What can be asked for on the command line; without numpy, which ``edgebrain.types`` needs and help does not."""

from __future__ import annotations

from enum import Enum


class PrecisionChoice(str, Enum):
    """Arithmetic of a file: the values of ``edgebrain.types.Precision``."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class FormatChoice(str, Enum):
    """What files are made for."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"
    ALL = "all"
