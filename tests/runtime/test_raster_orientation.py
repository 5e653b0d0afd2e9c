"""Images that say how they are to be turned: PNG, JPEG and TIFF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from edgebrain.readers import from_array

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from edgebrain.types import Scan

    Bytes = Callable[..., bytes]
    Pixels = npt.NDArray[Any]
    Encode = Callable[[str, Pixels], bytes]
    Noise = Callable[..., Pixels]
    ReadOne = Callable[[bytes], Scan]


def stored_as(upright: Pixels, orientation: int) -> Pixels:
    """How a camera stores an upright image under an Exif orientation (CIPA DC-008, tag 274)."""
    turned: dict[int, Pixels] = {
        1: upright,
        2: upright[:, ::-1],
        3: np.rot90(upright, 2),
        4: upright[::-1],
        5: np.swapaxes(upright, 0, 1),
        6: np.rot90(upright, 1),
        7: np.rot90(np.swapaxes(upright, 0, 1), 2),
        8: np.rot90(upright, -1),
    }
    return np.ascontiguousarray(turned[orientation])


def test_png_exif_orientation(png_bytes: Bytes, exif_jpeg: Bytes, read_one: ReadOne) -> None:
    block = exif_jpeg(b"\xff\xd8", 6)[12:]
    data = png_bytes((2, 1, 8, 0), b"\0\1\2", (b"eXIf", block))
    np.testing.assert_array_equal(read_one(data).pixels, [[1], [2]])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_jpeg_orientation_is_undone_once(
    exif_jpeg: Bytes, head: npt.NDArray[np.uint8], encode: Encode, read_one: ReadOne, *, orientation: int, order: str
) -> None:
    jpeg = encode(".jpg", stored_as(head, orientation))
    data = exif_jpeg(jpeg, orientation, order)
    scan = read_one(data)
    assert scan.pixels.shape == head.shape
    assert np.abs(scan.pixels.astype(int) - head).mean() < 3
    # OpenCV's own idea of upright, from the same file.
    reference = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(scan.pixels, reference)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiff_orientation_is_undone_once(
    tiff_bytes: Bytes, noise: Noise, read_one: ReadOne, orientation: int, dtype: str
) -> None:
    for upright in (noise(dtype, 9, 7), noise(dtype, 9, 7, 3)):
        scan = read_one(tiff_bytes(stored_as(upright, orientation), tags={274: [orientation]}))
        np.testing.assert_array_equal(scan.pixels, from_array(upright).pixels)
