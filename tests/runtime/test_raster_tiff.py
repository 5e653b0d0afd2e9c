"""TIFF: its colours, layouts and pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from edgebrain.errors import ScanTooLarge
from edgebrain.readers import Limits, from_array, read
from edgebrain.readers.grey import over_black

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from edgebrain.types import Scan

    Bytes = Callable[..., bytes]
    Pixels = npt.NDArray[Any]
    Noise = Callable[..., Pixels]
    ReadOne = Callable[[bytes], Scan]

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("separate", [False, True])
def test_tiff_colours(
    tiff_bytes: Bytes, noise: Noise, read_one: ReadOne, dtype: str, channels: int, *, separate: bool
) -> None:
    pixels = noise(dtype, 9, 7, channels)
    extra = {338: [2]} if channels == 4 else {}
    if channels == 4 and dtype.startswith("f"):
        pixels[..., 3] = RNG.random((9, 7))
    scan, expected = read_one(tiff_bytes(pixels, separate=separate, tags=extra)), from_array(pixels)
    np.testing.assert_array_equal(scan.pixels, expected.pixels)
    assert scan.color_fraction == expected.color_fraction > 0.1


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("extra", [0, 1, 2])
def test_tiff_grey_with_alpha(
    tiff_bytes: Bytes, noise: Noise, read_one: ReadOne, dtype: str, extra: int, *, separate: bool
) -> None:
    pixels = noise(dtype, 9, 7, 2)
    pixels[..., 1] = pixels[..., 1] if dtype != "float32" else RNG.random((9, 7))
    scan = read_one(tiff_bytes(pixels, separate=separate, tags={338: [extra]}))
    # Only straight alpha (2) still has to be multiplied; 1 is multiplied already, 0 is something else.
    color = pixels[..., :1]
    expected = over_black(color, pixels[..., 1])[0] if extra == 2 else color
    np.testing.assert_array_equal(scan.pixels, expected[..., 0])


@pytest.mark.parametrize("extra", [0, 1])
def test_tiff_colours_that_need_no_alpha_are_left_alone(
    tiff_bytes: Bytes, noise: Noise, read_one: ReadOne, extra: int
) -> None:
    pixels = noise("uint8", 9, 7, 4)
    scan = read_one(tiff_bytes(pixels, tags={338: [extra]}))
    np.testing.assert_array_equal(scan.pixels, from_array(pixels[..., :3]).pixels)
    assert scan.warnings == ()


def test_white_is_zero_leaves_alpha_alone(tiff_bytes: Bytes, read_one: ReadOne) -> None:
    pixels = np.array([[[0, 255], [255, 255], [0, 0]]], np.uint8)
    np.testing.assert_array_equal(read_one(tiff_bytes(pixels, tags={262: [0], 338: [2]})).pixels, [[255, 0, 0]])


def test_tiff_palette(tiff_bytes: Bytes, noise: Noise, read_one: ReadOne) -> None:
    index = noise("uint8", 6, 8)
    palette = noise("uint8", 256, 3)
    data = bytearray(tiff_bytes(index, tags={262: [3], 320: (palette.T.ravel().astype(int) * 257).tolist()}))
    # The palette is one of SHORTs; the writer writes LONGs, so that their type and values are put right here.
    entry = data.index((320).to_bytes(2, "little") + b"\4\0\0\3\0\0")
    at = int.from_bytes(data[entry + 8 : entry + 12], "little")
    data[entry + 2] = 3
    data[at : at + 1536] = (palette.T.ravel().astype("<u2") * 257).tobytes()
    np.testing.assert_array_equal(read_one(bytes(data)).pixels, from_array(palette[index]).pixels)


def test_tiff_bilevel(tiff_bytes: Bytes, read_one: ReadOne) -> None:
    packed = np.array([[0b10110000]], np.uint8)
    for photometric, first in ((1, 255), (0, 0)):
        data = tiff_bytes(packed, tags={256: [8], 258: [1], 262: [photometric]})
        assert read_one(data).pixels.tolist()[0][:2] == [first, 255 - first]


def test_tiff_tiles(tiff_bytes: Bytes, noise: Noise, read_one: ReadOne) -> None:
    pixels = noise("uint16", 48, 32)
    tiles = pixels.reshape(3, 16, 2, 16).swapaxes(1, 2)  # rows and columns of tiles of 16 by 16
    starts = [8 + 512 * number for number in range(6)]
    data = tiff_bytes(tiles.reshape(48, 32), tags={322: [16], 323: [16], 324: starts, 325: [512] * 6})
    np.testing.assert_array_equal(read_one(data).pixels, pixels)


def test_tiff_difference_predictor(tiff_bytes: Bytes, noise: Noise, read_one: ReadOne) -> None:
    pixels = noise("uint16", 9, 7)
    stored = np.diff(pixels, axis=1, prepend=np.uint16(0))
    np.testing.assert_array_equal(read_one(tiff_bytes(stored, coding=8, tags={317: [2]})).pixels, pixels)


def test_every_page_is_a_scan(tiff_bytes: Bytes, noise: Noise) -> None:
    pages = [noise("uint16", 5 + i, 7) for i in range(4)] + [noise("float32", 3, 3)]
    scans = list(read(tiff_bytes(*pages), "x"))
    assert [(s.frame, s.frames) for s in scans] == [(i, 5) for i in range(5)]
    assert len({s.sha256 for s in scans}) == 1
    for scan, page in zip(scans, pages, strict=True):
        np.testing.assert_array_equal(scan.pixels, page)


def test_pages_are_decoded_one_at_a_time(tiff_bytes: Bytes, monkeypatch: pytest.MonkeyPatch, noise: Noise) -> None:
    calls: list[int] = []
    decode = cv2.imdecode

    def counting(*args: Any) -> Any:
        calls.append(1)
        return decode(*args)

    monkeypatch.setattr(cv2, "imdecode", counting)
    scans = read(tiff_bytes(*[noise("uint8", 5, 5)] * 10), "x")
    next(scans)
    assert len(calls) == 1
    next(scans)
    assert len(calls) == 2


def test_all_pages_are_checked_before_the_first_is_decoded(tiff_bytes: Bytes, noise: Noise) -> None:
    data = tiff_bytes(noise("uint8", 5, 5), noise("uint8", 50, 50))
    with pytest.raises(ScanTooLarge):
        next(read(data, "x", Limits(max_pixels=100)))


def test_a_passed_on_tag_outside_the_file_is_left_out(tiff_bytes: Bytes, noise: Noise, read_one: ReadOne) -> None:
    pixels = noise("uint8", 4, 4)
    data = bytearray(tiff_bytes(pixels, tags={532: [0, 255, 0, 255, 0, 255]}))
    entry = data.index((532).to_bytes(2, "little") + b"\4\0\6\0\0\0")
    data[entry + 8 : entry + 12] = b"\xff\xff\xff\x7f"
    np.testing.assert_array_equal(read_one(bytes(data)).pixels, pixels)
