"""Turn a file of a package into 8-bit pictures, whatever its format: photographs, DICOM, PDF pages, slides, digits.

pydicom, pypdfium2 and tifffile are wanted only by the formats they read, and are imported when one turns up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from pictures.volumes import Picture, load

Named: TypeAlias = Iterator[tuple[str, Picture]]
"""Pictures with the part of their name that tells pictures of one file apart."""

LONGEST = 320
"""Longest side of a picture in pixels."""
BLANK = 8.0
"""Standard deviation of the grey values below which a picture shows nothing."""
MOST_OF_ONE_FILE = 24
"""Pictures taken from one book, slide or table of digits."""
MOST_FRAMES = 12
"""Pictures taken from one film, whose frames are much alike."""
DIGIT = 28
"""Side of a handwritten digit in pixels."""
TILE = 448
"""Side of a tile cut from a slide in pixels."""


def stretched(grey: npt.NDArray[Any], low: float = 0.5, high: float = 99.5) -> Picture:
    """Map the values between two percentiles to 0..255.

    Args:
        grey: Values of any type.
        low: Percentile that becomes black.
        high: Percentile that becomes white.

    Returns:
        8-bit values of the same shape.
    """
    values = grey.astype(np.float32)
    bottom, top = np.percentile(values, (low, high))
    scaled = (values - bottom) / max(float(top - bottom), 1e-6)
    return np.asarray((np.clip(scaled, 0, 1) * 255).round(), np.uint8)


def shrunk(picture: Picture) -> Picture:
    """Shrink a picture that is larger than `LONGEST`; leave a smaller one alone."""
    factor = LONGEST / max(picture.shape[:2])
    if factor >= 1:
        return picture
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def fingerprint(picture: Picture) -> bytes:
    """Reduce a picture to what it has in common with copies of itself in other sizes."""
    return np.asarray(cv2.resize(picture, (12, 12), interpolation=cv2.INTER_AREA) // 24, np.uint8).tobytes()


def is_blank(picture: Picture) -> bool:
    """Whether a picture shows nothing."""
    return float(picture.std()) < BLANK or min(picture.shape[:2]) < DIGIT


def spread(items: list[Any], most: int) -> list[Any]:
    """Choose items evenly over a list, the same ones every time."""
    if len(items) <= most:
        return items
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, most)]


def _flat(picture: npt.NDArray[Any]) -> Picture:
    """Bring any depth and number of channels to 8-bit grey or BGR, on white where it is transparent."""
    if picture.dtype != np.uint8:
        picture = stretched(picture, 0, 100)
    if picture.shape[2:] == (4,):
        cover = picture[..., 3:].astype(np.float32) / 255
        picture = (picture[..., :3] * cover + 255 * (1 - cover)).round().astype(np.uint8)
    return np.ascontiguousarray(picture, np.uint8)


def _raster(path: Path) -> Named:
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is not None:
        yield "", _flat(picture)


def _dicom(path: Path) -> Named:
    dataset = import_module("pydicom").dcmread(path, force=True)
    pixels = dataset.pixel_array
    colour = int(dataset.get("SamplesPerPixel", 1)) > 1
    inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    frames = list(pixels) if pixels.ndim == 3 + colour else [pixels]
    for number, frame in enumerate(spread(frames, MOST_FRAMES)):
        if colour:
            yield f"_f{number}", np.ascontiguousarray(frame[..., ::-1], np.uint8)
        else:
            yield f"_f{number}", 255 - stretched(frame) if inverted else stretched(frame)


def _pages(path: Path) -> Named:
    book = import_module("pypdfium2").PdfDocument(path)
    for number in spread(list(range(len(book))), MOST_OF_ONE_FILE):
        yield f"_p{number + 1:04d}", _flat(book[number].render(scale=1).to_numpy())


def _slide(path: Path) -> Named:
    tifffile: Any = import_module("tifffile")
    slide = tifffile.imread(path)
    rows, columns = (range(0, side - TILE + 1, TILE) for side in slide.shape[:2])
    corners = [(row, column) for row in rows for column in columns]
    for row, column in spread(corners, MOST_OF_ONE_FILE):
        tile = slide[row : row + TILE, column : column + TILE, ::-1]
        yield f"_r{row:05d}_c{column:05d}", np.ascontiguousarray(tile, np.uint8)


def _stack(path: Path) -> Named:
    values, _ = load(path)
    for index in spread(list(range(values.shape[2])), MOST_OF_ONE_FILE):
        yield f"_z{index:03d}", stretched(np.ascontiguousarray(values[::-1, ::-1, index].T))


def _digits(path: Path) -> Named:
    values = np.array(json.loads(path.read_text())["data"], np.float32).reshape(-1, DIGIT, DIGIT)
    for number in spread(list(range(len(values))), MOST_OF_ONE_FILE):
        yield f"_{number:04d}", (values[number] * 255).round().astype(np.uint8)


READERS: dict[str, Callable[[Path], Named]] = {
    ".dcm": _dicom,
    ".pdf": _pages,
    ".svs": _slide,
    ".nii": _stack,
    ".nrrd": _stack,
    ".json": _digits,
}


def pictures_of(path: Path) -> Named:
    """Read the pictures of a file.

    Args:
        path: A file of a package.

    Yields:
        Each picture, no larger than `LONGEST`, with what its name adds to the file's.
    """
    for ending, picture in READERS.get(path.suffix.lower(), _raster)(path):
        small = shrunk(picture)
        if not is_blank(small):
            yield ending, small
