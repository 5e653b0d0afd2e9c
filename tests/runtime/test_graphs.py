from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebrain.graphs import refers_to_other_files

NO_ONNX = "the extra 'export' brings the onnx package"


@pytest.fixture
def model(tiny_graph: bytes) -> Any:
    onnx = pytest.importorskip("onnx", reason=NO_ONNX)
    return onnx.load_from_string(tiny_graph)


def with_outside(tensor: Any) -> None:
    """Point a tensor to a file, as onnx.external_data_helper does."""
    tensor.data_location = 1
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


def test_a_graph_with_all_its_weights_inside_refers_to_nothing(tiny_graph: bytes) -> None:
    assert not refers_to_other_files(tiny_graph)


def test_a_model_that_the_onnx_package_saved_with_external_data_is_found(model: Any, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason=NO_ONNX)
    path = tmp_path / "model.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").stat().st_size > 0
    assert refers_to_other_files(path.read_bytes())


def _initializer(model: Any) -> Any:
    return model.graph.initializer[0]


def _sparse_values(model: Any) -> Any:
    return model.graph.sparse_initializer.add().values


def _sparse_indices(model: Any) -> Any:
    return model.graph.sparse_initializer.add().indices


def _attribute(model: Any) -> Any:
    return model.graph.node[0].attribute.add().t


def _attribute_list(model: Any) -> Any:
    return model.graph.node[0].attribute.add().tensors.add()


def _attribute_sparse(model: Any) -> Any:
    return model.graph.node[0].attribute.add().sparse_tensor.values


def _attribute_sparse_list(model: Any) -> Any:
    return model.graph.node[0].attribute.add().sparse_tensors.add().values


def _subgraph(model: Any) -> Any:
    return model.graph.node[0].attribute.add().g.initializer.add()


def _subgraph_list(model: Any) -> Any:
    inner = model.graph.node[0].attribute.add().graphs.add().node.add()
    return inner.attribute.add().g.initializer.add()


def _function(model: Any) -> Any:
    return model.functions.add().node.add().attribute.add().t


def _function_default(model: Any) -> Any:
    return model.functions.add().attribute_proto.add().t


def _training(model: Any) -> Any:
    return model.training_info.add().algorithm.initializer.add()


def _training_start(model: Any) -> Any:
    return model.training_info.add().initialization.node.add().attribute.add().t


PLACES = [
    _initializer,
    _sparse_values,
    _sparse_indices,
    _attribute,
    _attribute_list,
    _attribute_sparse,
    _attribute_sparse_list,
    _subgraph,
    _subgraph_list,
    _function,
    _function_default,
    _training,
    _training_start,
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__.strip("_"))
def test_external_data_is_found_wherever_a_tensor_can_be(model: Any, place: Callable[[Any], Any]) -> None:
    tensor = place(model)
    assert not refers_to_other_files(model.SerializeToString())
    with_outside(tensor)
    assert refers_to_other_files(model.SerializeToString())


def test_the_location_flag_alone_is_enough(model: Any) -> None:
    _initializer(model).data_location = 1
    assert refers_to_other_files(model.SerializeToString())


def test_a_tag_with_more_bits_than_parsers_keep_hides_nothing(model: Any) -> None:
    with_outside(_initializer(model))
    graph = model.graph.SerializeToString()
    # Field 7 of the model (its graph), with bit 32 set in the tag's varint.
    tag = bytes([0x80 | 58, 0x80, 0x80, 0x80, 0x10])
    size = bytes([0x80 | (len(graph) & 0x7F), len(graph) >> 7])
    assert len(graph) < 1 << 14
    assert refers_to_other_files(tag + size + graph)


def answers_or_refuses(data: bytes) -> None:
    with suppress(ValueError):
        assert refers_to_other_files(data) in (True, False)


@given(st.binary(max_size=400))
def test_random_bytes_get_an_answer_or_a_refusal(data: bytes) -> None:
    answers_or_refuses(data)


@given(st.data())
def test_a_cut_or_changed_graph_gets_an_answer_or_a_refusal(tiny_graph: bytes, data: st.DataObject) -> None:
    changed = bytearray(tiny_graph)
    for _ in range(data.draw(st.integers(0, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(changed)))
    answers_or_refuses(bytes(changed[:cut]))


def varint(size: int) -> bytes:
    encoded = b""
    while size >= 0x80:
        encoded += bytes([size & 0x7F | 0x80])
        size >>= 7
    return encoded + bytes([size])


def test_deep_nesting_is_not_trusted_and_does_not_exhaust_the_stack() -> None:
    # Graph in node in attribute in graph in node ...: fields 7, then 1, 5, 6 over and over.
    data = b""
    for _ in range(2000):
        for field in (b"\x32", b"\x2a", b"\x0a"):
            data = field + varint(len(data)) + data
    with pytest.raises(ValueError, match="deeply"):
        refers_to_other_files(b"\x3a" + varint(len(data)) + data)


@pytest.mark.parametrize(
    "broken", [b"\x3a", b"\x3a\x05ab", b"\x3a" + b"\xff" * 11, b"\x0b", b"\xff" * 20, b"\x3d\0\0", b"\x39\0"]
)
def test_what_is_no_protobuf_is_refused(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut short|wire type|too long|deeply"):
        refers_to_other_files(broken)
