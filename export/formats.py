"""Which files a bundle gets: precision and format to file, and which pairs make no sense."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from edgebrain.errors import UsageError
from edgebrain.types import Precision


class Format(str, Enum):
    """What a file is made for."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"


class Layout(str, Enum):
    """How a file is quantised or typed; ``layout`` of an artifact in the manifest."""

    U8S8 = "u8s8"
    U8S8_REDUCED = "u8s8-reduced"
    S8S8_TRT = "s8s8-trt"
    FP16_TRT = "fp16-trt"
    IR = "ir"


@dataclass(frozen=True)
class Target:
    """A file to be made.

    Attributes:
        file: Its name in the bundle.
        engine: Engine that runs it.
        precision: Its arithmetic.
        layout: How it is quantised or typed; None for the float original.
    """

    file: str
    engine: str
    precision: Precision
    layout: Layout | None = None


FLOAT = Target("model.onnx", "onnxruntime", Precision.FP32)
INT8 = Target("model.int8.onnx", "onnxruntime", Precision.INT8, Layout.U8S8)
INT8_REDUCED = Target("model.int8.reduced.onnx", "onnxruntime", Precision.INT8, Layout.U8S8_REDUCED)
TARGETS = {
    (Precision.FP32, Format.ONNX): FLOAT,
    (Precision.INT8, Format.ONNX): INT8,
    (Precision.FP16, Format.OPENVINO): Target("model.ov.fp16.xml", "openvino", Precision.FP16, Layout.IR),
    (Precision.INT8, Format.OPENVINO): Target("model.ov.int8.xml", "openvino", Precision.INT8, Layout.IR),
    (Precision.FP16, Format.TENSORRT): Target("model.trt.fp16.onnx", "tensorrt", Precision.FP16, Layout.FP16_TRT),
    (Precision.INT8, Format.TENSORRT): Target("model.trt.int8.onnx", "tensorrt", Precision.INT8, Layout.S8S8_TRT),
}
_WHY_NOT = {
    (Precision.FP16, Format.ONNX): "ONNX Runtime computes fp16 in fp32 on CPUs, so that such a file gains nothing",
    (Precision.FP32, Format.OPENVINO): "OpenVINO runs fp32 from model.onnx, which every bundle has",
    (Precision.FP32, Format.TENSORRT): "TensorRT builds fp32 from model.onnx, which every bundle has",
}


def targets(
    precisions: Collection[Precision],
    formats: Collection[Format],
    *,
    every_format: bool = False,
    reduce_range: bool = False,
) -> tuple[Target, ...]:
    """Choose the files of a bundle. The float original is always the first.

    Args:
        precisions: What was asked for; INT8 if nothing was.
        formats: What was asked for; ONNX if nothing was.
        every_format: Whether the formats are simply all of them, so that one without a file is no mistake.
        reduce_range: Whether to add the INT8 file with 7-bit weights, for CPUs whose 8-bit products saturate.

    Raises:
        UsageError: A precision has no file in any of the formats, or a format none in any of the precisions.
    """
    precisions = set(precisions) or {Precision.INT8}
    formats = set(formats) or {Format.ONNX}
    pairs = {pair for pair in TARGETS if pair[0] in precisions and pair[1] in formats}
    for precision in precisions - {Precision.FP32}:
        if not any(pair[0] is precision for pair in pairs):
            _refuse(precision, next(iter(sorted(formats, key=lambda f: f.value))))
    for chosen in set() if every_format else formats:
        if not any(pair[1] is chosen for pair in pairs):
            _refuse(next(iter(sorted(precisions, key=lambda p: p.value))), chosen)
    if reduce_range and INT8.precision not in precisions:
        raise UsageError("--reduce-range is about INT8, which was not asked for.", remedy="Add --int8.")
    made = [target for pair, target in TARGETS.items() if pair in pairs and target is not FLOAT]
    return (FLOAT, *made, *([INT8_REDUCED] if reduce_range else []))


def _refuse(precision: Precision, chosen: Format) -> None:
    ways = [f"--format {f.value}" for p, f in TARGETS if p is precision]
    raise UsageError(
        f"There is no {precision.value} file for --format {chosen.value}: {_WHY_NOT[precision, chosen]}.",
        remedy=f"{precision.value} goes with {' or '.join(ways)}.",
    )
