"""Archives of arrays from anywhere: what they unpack to is limited before it is read."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest

from edgebrain.arrays import read_arrays
from edgebrain.heads import parse_head


def packed(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def test_arrays_come_back() -> None:
    stored = read_arrays(packed(a=np.arange(3), b=np.zeros(2)))
    assert {name: values.tolist() for name, values in stored.items()} == {"a": [0, 1, 2], "b": [0.0, 0.0]}


def test_a_bomb_is_refused_before_it_unpacks() -> None:
    bomb = packed(a=np.zeros(9 << 20))
    assert len(bomb) < 1 << 17
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="unpacked"):
            read_arrays(bomb)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_head_may_not_be_larger_than_its_numbers() -> None:
    arrays = {"mean": np.zeros(4), "scale": np.ones(4), "weight": np.zeros((2, 4)), "bias": np.zeros(2)}
    assert parse_head(packed(**arrays), 2, 4).weight.shape == (2, 4)
    with pytest.raises(ValueError, match="unpacked"):
        parse_head(packed(**{**arrays, "more": np.zeros(1 << 16)}), 2, 4)


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06", np.zeros(3).tobytes()])
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are those of zipfile
        read_arrays(data)
