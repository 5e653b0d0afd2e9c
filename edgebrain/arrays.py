"""Numpy's archives of arrays, read as what they may be: bytes from anywhere. No pickle."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any

import numpy as np

# What numpy, zipfile and zlib raise on files that are not what they should be.
_UNREADABLE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    OSError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


MOST_BYTES = 64 << 20
"""Of all arrays together, unpacked: a kilobyte of deflate can stand for a megabyte of zeros."""


def read_arrays(data: bytes, limit: int = MOST_BYTES) -> dict[str, np.ndarray[Any, Any]]:
    """All arrays of an ``.npz`` file, by name.

    Args:
        data: The file.
        limit: How many bytes it may have unpacked.

    Raises:
        ValueError: It is no such file, or a larger one; the text says why.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # zipfile gives out no more of a member than is said here, so that a false size only breaks the array.
            size = sum(member.file_size for member in archive.infolist())
        if size > limit:
            raise ValueError(f"it holds {size} bytes unpacked, more than {limit}")
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return {name: np.asarray(stored[name]) for name in stored.files}
    except _UNREADABLE as error:
        raise ValueError(str(error) or type(error).__name__) from error
