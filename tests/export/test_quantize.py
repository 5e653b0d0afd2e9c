"""The INT8 file: layout, float head, closeness, calibration choice."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the extra 'export' brings onnx")
pytest.importorskip("torch", reason="the extra 'export' brings torch")

from edgebrain.errors import ExportError  # noqa: E402 - after the skip
from edgebrain.export.formats import Layout  # noqa: E402
from edgebrain.export.quantize import calibration_choice, quantize  # noqa: E402
from edgebrain.export.ranges import Source, measure, simplified  # noqa: E402
from edgebrain.export.to_onnx import run_onnx, to_onnx  # noqa: E402
from edgebrain.phantom import PhantomSpec, draw_phantom  # noqa: E402
from edgebrain.preprocessing import prepare  # noqa: E402
from edgebrain.train.models import TrainedModel  # noqa: E402
from edgebrain.types import Image8, Scan  # noqa: E402


@pytest.fixture(scope="module")
def images(trained: TrainedModel) -> Image8:
    drawn = [draw_phantom(PhantomSpec(seed=s, side=96)) for s in range(32)]
    return np.stack([prepare(Scan(d, "phantom"), trained.recipe.input).image for d in drawn])


@pytest.fixture(scope="module")
def pair(trained: TrainedModel, images: Image8) -> tuple[bytes, bytes]:
    graph = to_onnx(trained.net, trained.recipe.input, {"id": "small"})
    return graph, int8_of(graph, images[:16])


def int8_of(graph: bytes, images: Image8) -> bytes:
    ready = simplified(graph)
    data: bytes = quantize(ready, measure(ready, images, Source("", "")), Layout.U8S8).SerializeToString()
    return data


def test_int8_stays_close_on_scans_it_was_not_calibrated_with(pair: tuple[bytes, bytes], images: Image8) -> None:
    exact, quantised = (run_onnx(model, images[16:])["logits"] for model in pair)
    correlation = np.corrcoef(exact.ravel(), quantised.ravel())[0, 1]
    assert correlation > 0.98
    assert not np.array_equal(exact, quantised)


def test_layout_is_unsigned_activations_and_signed_weights(pair: tuple[bytes, bytes]) -> None:
    graph = onnx.load_from_string(pair[1]).graph
    constants = {i.name: i for i in graph.initializer}
    made = {n.output[0]: n for n in graph.node}
    convolutions = [n for n in graph.node if n.op_type == "Conv"]
    for node in convolutions[:-1]:
        activation, weight = made[node.input[0]], made[node.input[1]]
        assert activation.op_type == weight.op_type == "DequantizeLinear"
        assert constants[activation.input[2]].data_type == onnx.TensorProto.UINT8
        assert constants[weight.input[0]].data_type == onnx.TensorProto.INT8
        scales = onnx.numpy_helper.to_array(constants[weight.input[1]])
        assert scales.size == onnx.numpy_helper.to_array(constants[weight.input[0]]).shape[0]


def test_head_stays_in_float(pair: tuple[bytes, bytes]) -> None:
    graph = onnx.load_from_string(pair[1]).graph
    head = [n for n in graph.node if n.op_type == "Conv"][-1]
    weights = {i.name: i.data_type for i in graph.initializer}
    assert weights[head.input[1]] == onnx.TensorProto.FLOAT


def test_metadata_travels(pair: tuple[bytes, bytes]) -> None:
    first, second = ({p.key: p.value for p in onnx.load_from_string(m).metadata_props} for m in pair)
    assert first["edgebrain.id"] == second["edgebrain.id"]


def test_too_few_calibration_scans_are_refused(pair: tuple[bytes, bytes], images: Image8) -> None:
    with pytest.raises(ExportError, match="too few"):
        int8_of(pair[0], images[:3])


def test_calibration_choice_is_even_and_repeatable() -> None:
    targets = np.array([0] * 50 + [1] * 5 + [2] * 45, np.int64)
    chosen = calibration_choice(targets, 12, seed=1)
    assert np.bincount(targets[chosen]).tolist() == [4, 4, 4]
    assert chosen == calibration_choice(targets, 12, seed=1)
    assert len(set(chosen)) == len(chosen)
