"""Reader of PNG, JPEG, TIFF and BMP: headers and limits, then completeness, then OpenCV decodes, then one grey rule."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import numpy as np

from edgebrain.errors import ScanTooLarge, UnreadableScan
from edgebrain.readers.grey import Order, reduce
from edgebrain.readers.headers import COPY_AGAIN, Header, Limits, check_limits, parse, verify
from edgebrain.readers.jpeg_tables import colors_cannot_occur
from edgebrain.types import AnyPixels, Scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgebrain.readers.tiff import Page

# Exif orientation -> (transpose first, then flip rows, then flip columns) that sets the image upright.
UPRIGHT = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}

COLOR_CHANNELS = 3
EIGHTH = 8
"""A JPEG is coded in blocks of this many rows and columns; a decoder that wants only their means is quick."""


def frames(data: bytes, source: str, form: str, sha256: str, limits: Limits) -> Iterator[Scan]:
    """Decode the frames of one file, one at a time.

    Args:
        data: The file.
        source: Its path, or a name for messages.
        form: ``png``, ``jpeg``, ``tiff`` or ``bmp``, as sniffed.
        sha256: Hex digest of the data.
        limits: Checked against the headers of all frames before the first is decoded.

    Yields:
        One scan a frame: grey, upright, bright is bright, dtype as stored.

    Raises:
        ScanError: The file is cut short, damaged, too large or of a kind that cannot be decoded faithfully.
    """
    from edgebrain.imaging import cv2

    if form != "tiff":
        header = parse(data, form, source)
        check_limits(header, limits, source)
        header = verify(data, form, header, source)
        encoded, how = np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED
        if form == "jpeg" and header.channels == COLOR_CHANNELS and _without_color(data, header, source):
            how = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
        decoded = _decode(encoded, (header.height, header.width), source, how)
        grey = reduce(upright(decoded, header.orientation), "bgr", alpha=header.alpha)
        yield Scan(
            pixels=grey.pixels,
            source=source,
            format=form,
            sha256=sha256,
            color_fraction=grey.color_fraction,
            warnings=grey.warnings,
        )
        return
    from edgebrain.readers.tiff import parse_pages  # its tables are the largest, and the others start without them

    pages = parse_pages(data, limits, source)
    buffer = bytearray(data)
    for index, page in enumerate(pages):
        decoded, order = _tiff_page(buffer, len(data), page, source)
        grey = reduce(upright(decoded, page.header.orientation), order, alpha=page.header.alpha)
        yield Scan(
            pixels=grey.pixels,
            source=source,
            frame=index,
            frames=len(pages),
            format=form,
            sha256=sha256,
            color_fraction=grey.color_fraction,
            warnings=grey.warnings,
        )


def upright(pixels: AnyPixels, orientation: int) -> AnyPixels:
    """Undo the Exif orientation (CIPA DC-008, tag 274) of [H, W] or [H, W, C] pixels; a view."""
    transpose, flip_rows, flip_columns = UPRIGHT[orientation]
    if transpose:
        pixels = np.swapaxes(pixels, 0, 1)
    return pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def _tiff_page(buffer: bytearray, size: int, page: Page, source: str) -> tuple[AnyPixels, Order]:
    """Decode all planes of a page to [H, W] or [H, W, C], white-is-zero undone."""
    from edgebrain.imaging import cv2
    from edgebrain.readers import tiff_plane
    from edgebrain.readers.tiff import GREY_INVERTED

    shape = page.header.height, page.header.width * tiff_plane.widened(page)
    planes: list[AnyPixels] = []
    for plane in range(page.planes):
        tiff_plane.point_to(buffer, size, page, plane)
        planes.append(_decode(np.frombuffer(buffer, np.uint8), shape, source, cv2.IMREAD_UNCHANGED))
    order: Order = "rgb" if page.planes > 1 else "bgr"
    pixels = np.dstack(planes) if page.planes > 1 else planes[0]
    if pixels.dtype != tiff_plane.carrier(page):
        raise UnreadableScan(
            f"{source}: OpenCV decoded {page.layout.bits}-bit samples as {pixels.dtype}.", remedy="Save it as a PNG."
        )
    pixels = pixels.view(page.dtype).reshape(page.header.height, page.header.width, -1)
    if page.layout.photometric == GREY_INVERTED:
        grey = pixels[..., 0]  # alpha, where there is any, stays
        np.negative(grey, out=grey) if page.dtype.kind == "f" else np.invert(grey, out=grey)
    return pixels, order


def _without_color(data: bytes, header: Header, source: str) -> bool:
    """Whether a JPEG of three components holds no colour, as most grey scans that are stored so.

    The tables of many files say so. Of the others a copy of an eighth of the size tells, for less than the colours
    would take; it cannot tell of colours that cancel out in every block, which no scan and no photo has. Where there
    are none, the luma alone is to the bit what weighing the channels would give.
    """
    from edgebrain.imaging import cv2

    if colors_cannot_occur(data):
        return True
    eighth = -(-header.height // EIGHTH), -(-header.width // EIGHTH)
    encoded = np.frombuffer(data, np.uint8)
    small = _decode(encoded, eighth, source, cv2.IMREAD_REDUCED_COLOR_8 | cv2.IMREAD_IGNORE_ORIENTATION)
    first, second, third = (small[..., channel] for channel in range(COLOR_CHANNELS))
    return np.array_equal(first, second) and np.array_equal(second, third)


def _decode(encoded: AnyPixels, shape: tuple[int, int], source: str, how: int) -> AnyPixels:
    """Decode one image, without rotation.

    Args:
        encoded: The file.
        shape: Rows and columns that its header promises.
        source: Named in errors.
        how: Flags of OpenCV; ``IMREAD_UNCHANGED`` converts no colours (they come in BGR order) and no depth.
    """
    from edgebrain.imaging import cv2

    try:
        with quiet:
            decoded: AnyPixels | None = cv2.imdecode(encoded, how)
    except cv2.error as error:
        raise UnreadableScan(f"{source}: the image is damaged.", remedy=COPY_AGAIN) from error
    except MemoryError as error:
        raise ScanTooLarge(f"{source}: not enough memory to decode it.", remedy="Give a smaller image.") from error
    if decoded is None:
        raise UnreadableScan(
            f"{source}: the image is damaged or of a variant that OpenCV cannot decode.", remedy=COPY_AGAIN
        )
    if decoded.shape[:2] != shape:
        raise UnreadableScan(f"{source}: the image is not of the size that its header gives.", remedy=COPY_AGAIN)
    return decoded


class _Quiet:
    """Keeps OpenCV's log off stderr while any thread decodes or any run lasts: the error that is raised says it all.

    The level is global in OpenCV, so it is put back when the last of them ends. OPENCV_LOG_LEVEL, where set, rules.
    libjpeg and libpng print some lines by themselves; those cannot be kept back from inside a process with threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._level = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0 and "OPENCV_LOG_LEVEL" not in os.environ:
                self._level = _set_log_level(0)  # silent
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and "OPENCV_LOG_LEVEL" not in os.environ:
                _set_log_level(self._level)


def _set_log_level(level: int) -> int:
    """Set OpenCV's log level; the one before comes back. OpenCV 5 moved the function."""
    from edgebrain.imaging import cv2

    setter = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    return int(setter(level))


quiet = _Quiet()
