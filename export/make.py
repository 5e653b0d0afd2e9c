"""From one float graph to every file that was asked for."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import onnx

from edgebrain.errors import ExportError
from edgebrain.types import Image8, Precision

from .formats import FLOAT, INT8, Layout, Target
from .half import to_half
from .layouts import check_layout
from .quantize import quantisable, quantize
from .ranges import Ranges, simplified
from .to_onnx import Runner, open_onnx
from .to_openvino import IntermediateRepresentation, open_openvino, to_openvino
from .topology import keep_properties

_WARM_UP, _TIMED = 5, 30


@dataclass(frozen=True)
class Made:
    """A file.

    Attributes:
        target: What it is for.
        data: Its bytes.
        weights: Bytes of the file with its weights, where it is not in one piece.
    """

    target: Target
    data: bytes
    weights: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return len(self.data) + len(self.weights or b"")

    @property
    def sha256(self) -> str:
        """Of the graph's bytes, in hex."""
        return hashlib.sha256(self.data).hexdigest()

    def open(self, threads: int = 0) -> Runner:
        """Open it on this machine, as its engine would run it: files for TensorRT node by node, as they stand."""
        if self.weights is not None:
            return open_openvino(IntermediateRepresentation(self.data, self.weights), threads=threads)
        return open_onnx(self.data, literally=self.target.engine == "tensorrt", threads=threads)

    def latency_ms(self, image: Image8) -> float | None:
        """Median time of one image on one thread; None where its engine is not on this machine.

        Args:
            image: uint8 [1, 1, H, W].
        """
        if self.target.engine == "tensorrt":
            return None
        run = self.open(threads=1)
        for _ in range(_WARM_UP):
            run(image)
        times = []
        for _ in range(_TIMED):
            started = time.perf_counter()
            run(image)
            times.append((time.perf_counter() - started) * 1e3)
        return statistics.median(times)


class Maker:
    """Makes files from a float graph and its calibration.

    Args:
        graph: The fp32 ONNX file.
    """

    def __init__(self, graph: bytes) -> None:
        self.graph = graph
        self.ranges: Ranges | None = None

    @cached_property
    def ready(self) -> onnx.ModelProto:
        """The graph as it is calibrated and quantised."""
        return simplified(self.graph)

    @property
    def sha256(self) -> str:
        """Of the float file."""
        return hashlib.sha256(self.graph).hexdigest()

    def quantisable(self) -> list[str]:
        """Names of the layers that may become INT8."""
        return quantisable(self.ready.graph)

    def make(self, target: Target, keep_float: Collection[str] = ()) -> Made:
        """Make a file, and prove that its layout is what its engine demands.

        Args:
            target: Which one.
            keep_float: Names of layers that stay in float in an INT8 file.

        Raises:
            ExportError: It cannot be made, or breaks a rule of its layout.
            MissingExtra: It needs OpenVINO, which is not installed.
        """
        if target == FLOAT:
            return Made(target, self.graph)
        if target.layout is Layout.IR:
            int8 = target.precision is Precision.INT8
            source = self.make(INT8, keep_float).data if int8 else self.graph
            return Made(target, *to_openvino(source, half=not int8))
        assert target.layout is not None
        if target.layout is Layout.FP16_TRT:
            model = to_half(self.ready)
            keep_properties(self.ready, model)
        else:
            if self.ranges is None:
                raise ExportError("INT8 needs calibration ranges.", remedy="Give scans with --calibration.")
            model = quantize(self.ready, self.ranges, target.layout, keep_float)
        try:
            onnx.checker.check_model(model, full_check=True)
        except onnx.checker.ValidationError as error:
            raise ExportError(f"{target.file} is no valid ONNX graph: {error}") from error
        check_layout(model, target.layout)
        return Made(target, model.SerializeToString())
