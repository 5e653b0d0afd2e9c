"""Scans on their way to the engine: read and prepared, or failed with an error that says why."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgebrain import preprocessing
from edgebrain import readers as reading
from edgebrain.errors import ScanError
from edgebrain.types import AnyPixels, InputSpec, Prepared, Scan

Source = str | os.PathLike[str] | bytes | AnyPixels
"""A path, the bytes of a file, or an array: [H, W] grey, [H, W, 3] RGB or [H, W, 4] RGBA."""

_NO_PIXELS: AnyPixels = np.empty((0, 0), np.uint8)


@dataclass(frozen=True)
class ReadyScan:
    """A scan on its way through: read and prepared, or failed with an error.

    Attributes:
        path: The record's path.
        frame: The record's frame.
        scan: What was read, without its pixels: they are not needed any more, and many scans may wait.
        width: Columns of the scan.
        height: Rows of the scan.
        prepared: The graph's input; None when there is an error.
        error: Why there is no input.
        read_ms: Time of reading and decoding.
        preprocess_ms: Time of preprocessing.
    """

    path: str
    frame: int
    scan: Scan | None
    width: int
    height: int
    prepared: Prepared | None
    error: ScanError | None
    read_ms: float
    preprocess_ms: float


def refused(path: str, error: ScanError) -> ReadyScan:
    """A source that gave no scan at all."""
    return ReadyScan(path, 0, None, 0, 0, None, error, 0.0, 0.0)


def read_ready(source: Source, spec: InputSpec) -> Iterator[ReadyScan]:
    """Read and prepare every frame of a source; an error becomes a ready scan that says so, and ends the source.

    Args:
        source: A path, the bytes of a file, or an array.
        spec: What the graph expects.
    """
    path = _name_of(source)
    started = time.perf_counter()
    frame = 0
    try:
        for scan in _scans(source):
            read_ms = (time.perf_counter() - started) * 1e3
            yield _prepare(scan, spec, path, read_ms)
            frame = scan.frame + 1
            started = time.perf_counter()
    except ScanError as error:
        yield ReadyScan(path, frame, None, 0, 0, None, error, (time.perf_counter() - started) * 1e3, 0.0)


def _prepare(scan: Scan, spec: InputSpec, path: str, read_ms: float) -> ReadyScan:
    started = time.perf_counter()
    prepared, failure = None, None
    try:
        prepared = preprocessing.prepare(scan, spec)
    except ScanError as error:
        failure = error
    elapsed = (time.perf_counter() - started) * 1e3
    height, width = scan.pixels.shape
    light = Scan(
        pixels=_NO_PIXELS,
        source=scan.source,
        frame=scan.frame,
        frames=scan.frames,
        format=scan.format,
        sha256=scan.sha256,
        color_fraction=scan.color_fraction,
        spacing=scan.spacing,
        warnings=scan.warnings,
    )
    return ReadyScan(path, scan.frame, light, width, height, prepared, failure, read_ms, elapsed)


def _name_of(source: Source) -> str:
    if isinstance(source, bytes):
        return "<bytes>"
    return "<array>" if isinstance(source, np.ndarray) else os.fspath(source)


def _scans(source: Source) -> Iterator[Scan]:
    if isinstance(source, np.ndarray):
        return iter((reading.from_array(source),))
    if isinstance(source, bytes):
        return reading.read(source, "<bytes>")
    return reading.read_path(source)
