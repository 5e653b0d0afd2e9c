"""Whether a file is safetensors at all: told from its header, before PyTorch is loaded."""

from __future__ import annotations

import json
from pathlib import Path

from edgebrain.errors import ExportError

REMEDY = "Name the model.safetensors that 'edgebrain train' wrote, or copy it again."
_LENGTH = 8  # bytes, little-endian: how long the JSON behind them is
_LONGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors library itself


def check_header(path: Path) -> None:
    """Refuse a file that does not begin as safetensors do (https://github.com/huggingface/safetensors, format).

    Raises:
        ExportError: It cannot be read, or begins otherwise.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            header = file.read(length) if length <= _LONGEST_HEADER else b""
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror}.", remedy=REMEDY) from error
    try:
        sound = len(header) == length and isinstance(json.loads(header), dict)
    except (ValueError, RecursionError):
        sound = False
    if not sound:
        raise ExportError(f"{path} cannot be read: it is no safetensors file, or is cut short.", remedy=REMEDY)
