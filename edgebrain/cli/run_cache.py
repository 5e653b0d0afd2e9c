"""What ``edgebrain cache`` does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgebrain.caches import cache_files, cache_home, clear_cache
from edgebrain.errors import EXIT_OK, printable


def print_path() -> int:
    """Print the folder of all caches."""
    sys.stdout.write(f"{cache_home()}\n")
    return EXIT_OK


def print_files(kind: str | None) -> int:
    """Print a line for every file: kind, size, path, and what is known of it."""
    for file in cache_files(kind):
        line = f"{file.kind}  {file.bytes / 1e6:8.2f} MB  {file.path}{_built_for(file.path)}"
        sys.stdout.write(f"{printable(line)}\n")
    return EXIT_OK


def clear_files(kind: str | None) -> int:
    """Delete them, and say how much it was."""
    found = clear_cache(kind)
    files = "1 file" if len(found) == 1 else f"{len(found)} files"
    sys.stdout.write(f"{files} deleted, {sum(file.bytes for file in found) / 1e6:.2f} MB\n")
    return EXIT_OK


def _built_for(path: Path) -> str:
    if path.suffix != ".engine":
        return ""
    try:
        key = json.loads(path.with_suffix(".json").read_bytes())["key"]
        return f"  {key['precision']} for {key['device']}, TensorRT {key['tensorrt']}, {key['target']}"
    except (OSError, ValueError, LookupError, TypeError):
        return "  not usable: nothing says what it was built for"
