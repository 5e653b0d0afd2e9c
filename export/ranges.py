"""Calibration: the range of every tensor over a set of scans, measured once and kept in the bundle.

Every INT8 layout is made from the same ranges. They are kept as JSON beside the graphs, so that a bundle can be
quantised anew without the scans.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgebrain.errors import ExportError, InvalidManifest
from edgebrain.types import Image8

from .topology import keep_properties, name_nodes

FILE = "calibration.json"
SCHEMA = 1
BATCH = 16
METHOD = f"lowest and highest value a batch of {BATCH}, moving mean over batches"


class Ranges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ranges of a graph's tensors.

    Attributes:
        schema: Version of this layout.
        graph_sha256: Of the float file that they were measured on.
        data_sha256: Names the scans: SHA-256 over their contents.
        scans: How many there were.
        method: How the range of a tensor is made from them.
        tensors: Tensor name to lowest and highest value.
    """

    schema: int
    graph_sha256: str
    data_sha256: str
    scans: int
    method: str
    tensors: dict[str, tuple[float, float]]

    def for_quantiser(self) -> TensorsData:
        """The ranges as ONNX Runtime's quantiser takes them."""
        data = {
            name: (np.array(low, np.float32), np.array(high, np.float32)) for name, (low, high) in self.tensors.items()
        }
        return TensorsData(CalibrationMethod.MinMax, data)


@dataclass(frozen=True)
class Source:
    """What ranges are said to come from: digests of graph and scans."""

    graph_sha256: str
    data_sha256: str


class _Images(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime publishes no types
    def __init__(self, images: Image8) -> None:
        self._batches: Iterator[Image8] = iter([images[i : i + BATCH] for i in range(0, len(images), BATCH)])

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, or None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}


def simplified(model: bytes) -> onnx.ModelProto:
    """The float graph as it is calibrated and quantised: shapes inferred, constants folded, every node named."""
    with tempfile.TemporaryDirectory() as folder:
        source, ready = Path(folder) / "fp32.onnx", Path(folder) / "ready.onnx"
        source.write_bytes(model)
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=False)
        graph = onnx.load(str(ready))
    name_nodes(graph.graph.node)
    keep_properties(
        onnx.load_from_string(model), graph
    )  # the step above shuffles them, and files must come out the same
    return graph


def measure(model: onnx.ModelProto, images: Image8, source: Source) -> Ranges:
    """Measure ranges.

    Args:
        model: The simplified float graph with the input ``image``.
        images: Calibration inputs, uint8 [N, 1, H, W]; never from validation or test data.
        source: What they come from.

    Raises:
        ExportError: Too few images were given, or a tensor is not finite.
    """
    if len(images) < BATCH:
        raise ExportError(
            f"{len(images)} calibration scans are too few; at least {BATCH} are needed.",
            remedy="Give more scans with --calibration.",
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ready.onnx"
        onnx.save(model, str(path))
        calibrator = create_calibrator(
            path,
            None,
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"moving_average": True},
        )
        calibrator.collect_data(_Images(images))
        data = calibrator.compute_data()
    tensors = {name: _pair(data[name].range_value) for name in sorted(data.keys())}
    strange = [name for name, pair in tensors.items() if not all(map(math.isfinite, pair))]
    if strange:
        raise ExportError(f"The tensor {strange[0]} of the graph is not finite on the calibration scans.")
    return Ranges(SCHEMA, source.graph_sha256, source.data_sha256, len(images), METHOD, tensors)


def _pair(values: Any) -> tuple[float, float]:
    low, high = values
    return float(np.asarray(low).reshape(())), float(np.asarray(high).reshape(()))


def write_ranges(ranges: Ranges) -> bytes:
    """The file's bytes."""
    return json.dumps(msgspec.to_builtins(ranges), indent=1).encode() + b"\n"


def read_ranges(data: bytes, path: Path, graph_sha256: str) -> Ranges:
    """Read stored ranges.

    Args:
        data: The file's bytes.
        path: Where they come from, for errors.
        graph_sha256: Of the float file that they must belong to.

    Raises:
        InvalidManifest: They are something else, or belong to another graph.
    """
    try:
        ranges = msgspec.json.decode(data, type=Ranges)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidManifest(f"{path} holds no calibration ranges: {error}.") from error
    if ranges.schema != SCHEMA:
        raise InvalidManifest(f"{path} has the calibration schema {ranges.schema}; this edgebrain reads {SCHEMA}.")
    if ranges.graph_sha256 != graph_sha256:
        raise InvalidManifest(f"{path} was measured on another graph.", remedy="Calibrate again with --calibration.")
    wrong = [name for name, (low, high) in ranges.tensors.items() if not (math.isfinite(high - low) and low <= high)]
    if wrong:
        raise InvalidManifest(f"{path}: the range of {wrong[0]} is impossible.")
    return ranges
