"""INT8 for CPUs: the U8S8 QDQ layout that ONNX Runtime (x86, ARM) and OpenVINO run with integer kernels throughout.

Activations are unsigned with a zero point, so that a ReLU disappears into it; weights are signed, one scale a channel.
Normalisation at the entrance and the head at the end stay in float: they cost nothing and decide the probabilities.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgebrain.errors import ExportError
from edgebrain.types import Image8

# Relu is named so that it disappears into the zero point of the tensor before it; without it each costs a way to float
# and back.
_QUANTISED = ["Conv", "Add", "Relu"]
_BATCH = 16


class _Images(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime publishes no types
    def __init__(self, images: Image8) -> None:
        self._batches = iter([images[i : i + _BATCH] for i in range(0, len(images), _BATCH)])

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, or None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}


def quantize_cpu(model: bytes, images: Image8) -> bytes:
    """Quantise a float file for CPU engines.

    Args:
        model: fp32 ONNX file with the input ``image`` and a last convolution that is the head.
        images: Calibration inputs, uint8 [N, 1, H, W]; never from validation or test data.

    Returns:
        The INT8 file, with the metadata of the float one.

    Raises:
        ExportError: The graph has no convolution to quantise, or too few images were given.
    """
    if len(images) < _BATCH:
        raise ExportError(f"{len(images)} calibration scans are too few; at least {_BATCH} are needed.")
    logging.getLogger().setLevel(max(logging.WARNING, logging.getLogger().level))
    with tempfile.TemporaryDirectory() as folder:
        source, ready, result = (Path(folder) / name for name in ("fp32.onnx", "ready.onnx", "int8.onnx"))
        source.write_bytes(model)
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=False)
        graph = onnx.load(str(ready)).graph
        quantize_static(
            str(ready),
            str(result),
            _Images(images),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=_QUANTISED,
            nodes_to_exclude=_float_nodes(graph),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"CalibMovingAverage": True},
        )
        quantised = onnx.load(str(result))
    properties = {p.key: p.value for p in onnx.load_from_string(model).metadata_props}
    onnx.helper.set_model_props(quantised, properties)
    data: bytes = quantised.SerializeToString()
    return data


def _float_nodes(graph: onnx.GraphProto) -> list[str]:
    # Everything before the first convolution is normalisation, whose small additions 8 bits would drown; the last
    # convolution is the head.
    names = [node.name for node in graph.node]
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    if len(convolutions) <= 1:
        raise ExportError("The graph has no convolution beside its head; there is nothing to quantise.")
    return [*names[: names.index(convolutions[0])], convolutions[-1]]


def calibration_choice(targets: np.ndarray[Any, np.dtype[np.int64]], count: int, seed: int) -> list[int]:
    """Choose calibration scans, equally from every class.

    Args:
        targets: int64 [N] class of each scan.
        count: How many to choose, at most.
        seed: Seed of the choice.

    Returns:
        Indices, shuffled.
    """
    rng = np.random.default_rng(seed)
    classes = np.unique(targets)
    share = max(1, count // len(classes))
    chosen = [rng.permutation(np.flatnonzero(targets == k))[:share] for k in classes]
    return [int(i) for i in rng.permutation(np.concatenate(chosen))]
