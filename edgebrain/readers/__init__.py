"""From a path, bytes or an array to scans. What a file is, its content decides, never its name.

Formats are a table (``formats.py``); a reader is a function ``(data, source, form, sha256, limits) -> Iterator[Scan]``.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from edgebrain.errors import UnreadableScan, UnsupportedScan
from edgebrain.readers.formats import AN_IMAGE, FORMATS, SUFFIXES, sniff
from edgebrain.readers.grey import channels, reduce
from edgebrain.readers.headers import Limits
from edgebrain.readers.source import DEFAULT_LIMITS, load
from edgebrain.types import Scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Reader = Callable[[bytes, str, str, str, Limits], Iterator[Scan]]

__all__ = ["SUFFIXES", "Limits", "from_array", "load", "middle", "read", "read_middle", "read_path", "sniff"]

NO_COLOR_DTYPES = frozenset({"int64", "uint64"})  # more digits than the weighing of colours keeps
GREY_DTYPES = NO_COLOR_DTYPES | {"int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "float32", "float64"}


def read(data: bytes, source: str, limits: Limits = DEFAULT_LIMITS) -> Iterator[Scan]:
    """Decode all frames of a file's bytes. A generator: nothing happens, and nothing is raised, before the first step.

    Args:
        data: The whole file.
        source: Its path, or a name such as ``<bytes>``; goes into scans and messages as it is.
        limits: What the file may cost; checked from headers before decoding.

    Yields:
        One scan a frame, in the file's order.

    Raises:
        UnreadableScan: Not an image, cut short or damaged.
        UnsupportedScan: An image of a kind that is not read.
        ScanTooLarge: A limit is passed.
    """
    if not data:
        raise UnreadableScan(f"{source}: there is no data.", remedy=AN_IMAGE)
    form = sniff(data)
    if form is None:
        raise UnreadableScan(f"{source}: the content is of no image format known here.", remedy=AN_IMAGE)
    known = FORMATS[form]
    if not known.reader:
        raise known.error(f"{source}: the content is {known.title}.", remedy=known.remedy)
    module, _, name = known.reader.partition(":")
    reader: Reader = getattr(importlib.import_module(module), name)
    yield from reader(data, source, form, hashlib.sha256(data).hexdigest(), limits)


def read_path(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> Iterator[Scan]:
    """Decode all frames of a file; ``load`` and ``read`` in one, a generator as ``read`` is.

    Args:
        path: Becomes the scans' ``source``, exactly as given.
        limits: What the file may cost.

    Yields:
        One scan a frame, in the file's order.

    Raises:
        ScanError: As ``load`` and ``read``.
    """
    yield from read(load(path, limits), os.fspath(path), limits)


def middle(frames: int) -> int:
    """Index of the frame that speaks for a labelled file of so many frames; the ends of a volume show little."""
    return frames // 2


def read_middle(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> Scan:
    """Decode the middle frame of a file: the one that audit, training and evaluation look at.

    Args:
        path: Becomes the scan's ``source``, exactly as given.
        limits: What the file may cost.

    Raises:
        ScanError: As ``load`` and ``read``.
    """
    for scan in read_path(path, limits):
        if scan.frame == middle(scan.frames):
            return scan
    raise UnreadableScan(f"{os.fspath(path)}: the file has no frames.")


def from_array(array: Any, source: str = "<array>") -> Scan:
    """A scan of pixels that are in memory already; bright is bright. Grey pixels are not copied.

    Args:
        array: [H, W] or [H, W, 1] grey, [H, W, 3] RGB or [H, W, 4] RGB with straight alpha; integers or floats (alpha
            in [0, 1] then). Masks (bool), complex numbers and colours of 64-bit integers are refused.
        source: Name for records and messages.

    Raises:
        UnsupportedScan: Another shape or dtype.
    """
    pixels = np.asarray(array)
    shape = " x ".join(map(str, pixels.shape)) or "no dimensions"
    if pixels.ndim not in (2, 3) or channels(pixels) not in (1, 3, 4) or pixels.size == 0:
        raise UnsupportedScan(
            f"{source}: an array of {shape} is not one image.", remedy="Give [H, W] grey or [H, W, 3] RGB."
        )
    if pixels.dtype.name not in GREY_DTYPES or (channels(pixels) > 1 and pixels.dtype.name in NO_COLOR_DTYPES):
        raise UnsupportedScan(
            f"{source}: pixels of type {pixels.dtype} are not read.", remedy="Convert to uint8, uint16 or float32."
        )
    pixels = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
    digest = hashlib.sha256(f"{pixels.dtype.name} {shape} ".encode())
    digest.update(pixels.reshape(-1).view(np.uint8).data)
    grey = reduce(pixels, "rgb", alpha=True)
    return Scan(
        pixels=grey.pixels,
        source=source,
        sha256=digest.hexdigest(),
        color_fraction=grey.color_fraction,
        warnings=grey.warnings,
    )
