"""A look into ONNX files without the onnx package: just enough of protobuf to see whether a graph reads other files.

ONNX tensors may keep their data in a file named by the model ("external data"), which lets a model file read any file
of the box (CVE-2024-27318 and its kin). A bundle's graphs may not. The fields are those of onnx.proto; the wire format:
https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_TENSOR_EXTERNAL_DATA = 13
_TENSOR_DATA_LOCATION = 14
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 64


class _Field(NamedTuple):
    number: int
    value: int
    start: int
    end: int


def refers_to_other_files(model: bytes) -> bool:
    """Whether any tensor of an ONNX model keeps its data in another file.

    Args:
        model: The file's bytes.

    Raises:
        ValueError: They are no valid protobuf, or one nested more deeply than any model; it cannot be trusted.
    """
    try:
        return _external(memoryview(model), "model", 0)
    except IndexError:
        raise ValueError("cut short") from None


def _external(data: memoryview, kind: str, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    children = _CHILDREN[kind]
    for field in _fields(data):
        if kind == "tensor" and (
            field.number == _TENSOR_EXTERNAL_DATA or (field.number == _TENSOR_DATA_LOCATION and field.value != 0)
        ):
            return True
        child = children.get(field.number)
        if child is not None and _external(data[field.start : field.end], child, depth + 1):
            return True
    return False


def _fields(data: memoryview) -> Iterator[_Field]:
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        value, start = 0, position
        wire = tag & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
        elif wire == _LENGTH:
            size, start = _varint(data, position)
            position = start + size
        elif wire in (_FIXED64, _FIXED32):
            position += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError("unknown wire type")
        if position > len(data):
            raise ValueError("cut short")
        # Parsers keep 32 bits of a tag; with more, a field could look like another one here than it does to them.
        yield _Field((tag & 0xFFFFFFFF) >> 3, value, start, position)


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return result, position
        shift += 7
        if shift > 63:  # noqa: PLR2004 - a varint has at most 64 bits
            raise ValueError("varint too long")
