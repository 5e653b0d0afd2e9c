"""The ONNX file: parity with the network, dynamic batch, what it says of itself."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the extra 'export' brings onnx")
torch = pytest.importorskip("torch", reason="the extra 'export' brings torch")

from edgebrain.bundle import open_bundle  # noqa: E402
from edgebrain.errors import ExportError  # noqa: E402 - after the skip
from edgebrain.export.to_onnx import OPSET, check_parity, run_onnx, to_onnx  # noqa: E402
from edgebrain.graphs import refers_to_other_files  # noqa: E402
from edgebrain.train.config import EdgeConfig  # noqa: E402
from edgebrain.train.edge import EdgeNet  # noqa: E402
from edgebrain.train.models import TrainedModel  # noqa: E402
from edgebrain.types import InputSpec  # noqa: E402


@pytest.fixture(scope="module")
def graph(trained: TrainedModel) -> bytes:
    facts = {"id": "small", "input": asdict(trained.recipe.input)}
    return to_onnx(trained.net, trained.recipe.input, facts)


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_any_batch_equals_the_network(graph: bytes, trained: TrainedModel, batch: int) -> None:
    images = np.random.default_rng(batch).integers(0, 256, (batch, 1, 64, 64), np.uint8)
    assert check_parity(trained.net, graph, images) < 1e-5


def test_file_has_the_contract_of_the_design(graph: bytes) -> None:
    model = onnx.load_from_string(graph)
    (entry,) = model.graph.input
    assert entry.name == "image"
    assert entry.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    dims = entry.type.tensor_type.shape.dim
    assert dims[0].dim_param
    assert [d.dim_value for d in dims[1:]] == [1, 64, 64]
    assert [o.name for o in model.graph.output] == ["logits", "embedding", "cam"]
    assert next(o.version for o in model.opset_import if not o.domain) == OPSET
    assert not refers_to_other_files(graph)


def test_file_says_what_it_is(graph: bytes, trained: TrainedModel) -> None:
    found = {p.key: json.loads(p.value) for p in onnx.load_from_string(graph).metadata_props}
    assert found["edgebrain.id"] == "small"
    assert found["edgebrain.input"] == asdict(trained.recipe.input)


def test_file_says_nothing_of_the_machine_it_was_made_on(graph: bytes) -> None:
    assert b"stack_trace" not in graph
    assert b"site-packages" not in graph
    assert b"forward" not in graph


@pytest.mark.parametrize("file", ["model.onnx", "model.int8.onnx"])
def test_the_shipped_files_say_nothing_of_it_either(file: str) -> None:
    data = open_bundle("edge").folder.joinpath(file).read_bytes()
    assert b"stack_trace" not in data
    assert b"site-packages" not in data


def test_cam_averages_to_logits(graph: bytes) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 64, 64), np.uint8)
    found = run_onnx(graph, images, batch=3)
    np.testing.assert_allclose(found["cam"].mean((2, 3)), found["logits"], atol=1e-4)


def test_parity_check_can_fail(graph: bytes, trained: TrainedModel) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 64, 64), np.uint8)
    other = EdgeNet(trained.recipe.model).eval()
    with pytest.raises(ExportError, match="differs from the network"):
        check_parity(other, graph, images)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_network_that_knows_outliers_has_a_fourth_output(batch: int) -> None:
    torch.manual_seed(1)
    net = EdgeNet(EdgeConfig(stem=8, widths=(8, 16), blocks=(1, 1)), outlier=True).eval()
    graph = to_onnx(net, InputSpec(width=64, height=64), {})
    images = np.random.default_rng(batch).integers(0, 256, (batch, 1, 64, 64), np.uint8)
    assert check_parity(net, graph, images) < 1e-5
    found = run_onnx(graph, images)
    assert list(found) == ["logits", "embedding", "cam", "outlier"]
    assert found["outlier"].shape == (batch,)
    with torch.no_grad():
        assert net.outlier is not None
        net.outlier.bias.add_(1)
    with pytest.raises(ExportError, match="differs from the network"):
        check_parity(net, graph, images)
