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


def read_arrays(data: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """All arrays of an ``.npz`` file, by name.

    Raises:
        ValueError: It is no such file; the text says why.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return {name: np.asarray(stored[name]) for name in stored.files}
    except _UNREADABLE as error:
        raise ValueError(str(error) or type(error).__name__) from error
