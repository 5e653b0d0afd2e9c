"""The short way into ``edgebrain classify``, for command lines that need no explaining.

Typer, with pydantic behind it, takes longer to import than a scan takes to classify. A line of nothing but paths and
well-formed options is read here instead. Everything else (help, mistakes, abbreviations, what is not in the tables
below) is left to typer, so that its words are the only ones that a user meets; a test holds both to the same reading.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgebrain.limits import MAX_BATCH_SIZE, MAX_THREADS

if TYPE_CHECKING:
    from edgebrain.cli.run_classify import ClassifyRequest

_FLAGS = {
    "--recursive": "recursive",
    "-r": "recursive",
    "--resume": "resume",
    "--overwrite": "overwrite",
    "--fail-fast": "fail_fast",
}
_VALUES = {
    "--watch": "watch",
    "--model": "model",
    "-m": "model",
    "--engine": "engine",
    "--precision": "precision",
    "--device": "device",
    "--threads": "threads",
    "--batch-size": "batch_size",
    "--format": "output_format",
    "-f": "output_format",
    "--output": "output",
    "-o": "output",
    "--sort": "sort",
}
_CHOICES = {"output_format": {"table", "json", "jsonl", "csv"}, "sort": {"triage"}}
_LARGEST = {"threads": MAX_THREADS, "batch_size": MAX_BATCH_SIZE}
"""Whole numbers from 1 up to these; typer judges what is above."""


def read(arguments: Sequence[str]) -> ClassifyRequest | None:
    """Read a command line.

    Args:
        arguments: What follows the program's name.

    Returns:
        What typer would make of it; None when that is for typer to say.
    """
    if not arguments or arguments[0] != "classify":
        return None
    paths: list[str] = []
    found: dict[str, str] = {}
    words = iter(arguments[1:])
    for word in words:
        if word == "-" or not word.startswith("-"):
            paths.append(word)
            continue
        name, attached, value = word.partition("=")
        key = _FLAGS.get(word) or _VALUES.get(name)
        if key is None or key in found or (attached and not name.startswith("--")):
            return None
        if word not in _FLAGS and not attached:
            value = next(words, "")
        if word not in _FLAGS and not _fits(key, value):
            return None
        found[key] = value
    if "" in paths or not (paths or "watch" in found):
        return None
    return _request(tuple(paths), found)


def _fits(key: str, value: str) -> bool:
    if key in _LARGEST:
        plain = value.isascii() and value.isdecimal() and not value.startswith("0")
        return plain and len(value) <= len(str(_LARGEST[key])) and int(value) <= _LARGEST[key]
    if key in _CHOICES:
        return value in _CHOICES[key]
    return value != "" and not value.startswith("-")


def _request(paths: tuple[str, ...], found: dict[str, str]) -> ClassifyRequest:
    # Importing NumPy starts the threads of its OpenBLAS, which takes as long as loading the model; this command
    # multiplies no matrices with it. What the user has set is left alone.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from edgebrain.cli.requests import ModelRequest
    from edgebrain.cli.run_classify import ClassifyRequest

    return ClassifyRequest(
        paths=paths,
        recursive="recursive" in found,
        watch=found.get("watch"),
        model=ModelRequest(
            model=found.get("model", "edge"),
            engine=found.get("engine"),
            precision=found.get("precision"),
            device=found.get("device"),
            threads=int(found["threads"]) if "threads" in found else None,
        ),
        batch_size=int(found.get("batch_size", "8")),
        output_format=found.get("output_format", "table"),
        output=Path(found["output"]) if "output" in found else None,
        resume="resume" in found,
        overwrite="overwrite" in found,
        sort="sort" in found,
        fail_fast="fail_fast" in found,
    )
