"""PNG, JPEG and BMP: their kinds of pixels, and which way up they are."""

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


# --- PNG ------------------------------------------------------------------------------------------------------------


def png_rows(samples: Pixels) -> bytes:
    return b"".join(b"\0" + row.astype(samples.dtype.newbyteorder(">")).tobytes() for row in samples)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_grey_with_alpha_is_put_on_black(png_bytes: Bytes, noise: Noise, read_one: ReadOne, dtype: str) -> None:
    top = np.iinfo(dtype).max
    samples = noise(dtype, 5, 7, 2)
    samples[0, :, 1], samples[1, :, 1] = top, 0
    scan = read_one(png_bytes((7, 5, samples.dtype.itemsize * 8, 4), png_rows(samples)))
    expected = samples[..., 0].astype(np.float64) * samples[..., 1] / top
    assert scan.pixels.dtype == dtype
    assert np.abs(scan.pixels - expected).max() <= 0.5
    np.testing.assert_array_equal(scan.pixels[0], samples[0, :, 0])
    assert not scan.pixels[1].any()
    assert "transparent" in scan.warnings[0]
    assert scan.color_fraction == 0


def test_opaque_alpha_changes_nothing(head: npt.NDArray[np.uint8], encode: Encode, read_one: ReadOne) -> None:
    scan = read_one(encode(".png", np.dstack([head, head, head, np.full_like(head, 255)])))
    np.testing.assert_array_equal(scan.pixels, head)
    assert scan.warnings == ()


def test_png_palette(png_bytes: Bytes, noise: Noise, read_one: ReadOne) -> None:
    palette = noise("uint8", 256, 3)
    index = noise("uint8", 6, 8)
    data = png_bytes((8, 6, 8, 3), png_rows(index), (b"PLTE", palette.tobytes()))
    np.testing.assert_array_equal(read_one(data).pixels, from_array(palette[index]).pixels)


def test_png_of_few_bits_is_scaled_to_bytes(png_bytes: Bytes, read_one: ReadOne) -> None:
    data = png_bytes((8, 1, 1, 0), b"\0" + bytes([0b10110000]))
    np.testing.assert_array_equal(read_one(data).pixels, [[255, 0, 255, 255, 0, 0, 0, 0]])
    data = png_bytes((4, 1, 2, 0), b"\0" + bytes([0b00011011]))
    np.testing.assert_array_equal(read_one(data).pixels, [[0, 85, 170, 255]])


# --- JPEG -----------------------------------------------------------------------------------------------------------


def test_grey_and_colour_jpeg(head: npt.NDArray[np.uint8], encode: Encode, read_one: ReadOne) -> None:
    data = encode(".jpg", head)
    np.testing.assert_array_equal(read_one(data).pixels, cv2.imdecode(np.frombuffer(data, np.uint8), -1))
    colour = np.dstack([head, head // 2, 255 - head])
    data = encode(".jpg", colour)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    decoded = decoded[..., ::-1]
    np.testing.assert_array_equal(read_one(data).pixels, from_array(decoded).pixels)


def test_of_a_jpeg_without_colours_the_luma_alone_is_decoded(
    head: npt.NDArray[np.uint8], encode: Encode, read_one: ReadOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(".jpg", np.dstack([head] * 3))
    in_color = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert in_color is not None
    decode, shapes = cv2.imdecode, []

    def noting(encoded: npt.NDArray[np.uint8], how: int) -> Any:
        decoded = decode(encoded, how)
        assert decoded is not None
        shapes.append(decoded.shape)
        return decoded

    monkeypatch.setattr(cv2, "imdecode", noting)
    scan = read_one(data)
    assert shapes == [(-(-head.shape[0] // 8), -(-head.shape[1] // 8), 3), head.shape]
    assert scan.color_fraction == 0
    np.testing.assert_array_equal(scan.pixels, from_array(in_color).pixels)


def test_a_thin_coloured_line_makes_a_coloured_jpeg(
    head: npt.NDArray[np.uint8], encode: Encode, read_one: ReadOne
) -> None:
    drawn = np.dstack([head] * 3)
    cv2.line(drawn, (3, 3), (head.shape[1] - 4, 9), (0, 0, 255), 1)
    data = encode(".jpg", drawn)
    in_color = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert in_color is not None
    expected = from_array(in_color[..., ::-1])
    scan = read_one(data)
    np.testing.assert_array_equal(scan.pixels, expected.pixels)
    assert scan.color_fraction == expected.color_fraction


def test_progressive_jpeg(head: npt.NDArray[np.uint8], read_one: ReadOne) -> None:
    ok, data = cv2.imencode(".jpg", head, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_QUALITY, 95])
    assert ok
    assert np.abs(read_one(bytes(data)).pixels.astype(int) - head).mean() < 2


# --- BMP ------------------------------------------------------------------------------------------------------------


def test_bmp_row_order_and_padding(bmp_bytes: Bytes, read_one: ReadOne) -> None:
    rows = bytes([1, 1, 1, 2, 2, 2, 0, 0, 3, 3, 3, 4, 4, 4, 0, 0])
    np.testing.assert_array_equal(read_one(bmp_bytes((2, 2), 24, rows)).pixels, [[3, 4], [1, 2]])
    np.testing.assert_array_equal(read_one(bmp_bytes((2, -2), 24, rows)).pixels, [[1, 2], [3, 4]])


def test_the_fourth_byte_of_a_bmp_is_alpha_only_where_the_header_says_so(bmp_bytes: Bytes, read_one: ReadOne) -> None:
    rows = bytes([10, 10, 10, 0, 20, 20, 20, 255])
    masks = (0xFF0000, 0xFF00, 0xFF)
    np.testing.assert_array_equal(read_one(bmp_bytes((2, 1), 32, rows)).pixels, [[10, 20]])
    np.testing.assert_array_equal(read_one(bmp_bytes((2, 1), 32, rows, coding=3, masks=masks)).pixels, [[10, 20]])
    with_alpha = bmp_bytes((2, 1), 32, rows, coding=3, header=124, masks=(*masks, 0xFF000000))
    np.testing.assert_array_equal(read_one(with_alpha).pixels, [[0, 20]])


def test_bmp_palette_and_run_lengths(bmp_bytes: Bytes, read_one: ReadOne) -> None:
    palette = b"".join(bytes((i, i, i, 0)) for i in range(256))
    plain = bmp_bytes((4, 2), 8, bytes([7, 7, 7, 7, 9, 9, 9, 9]), palette=palette)
    packed = bmp_bytes((4, 2), 8, bytes([4, 7, 0, 0, 4, 9, 0, 1]), palette=palette, coding=1)
    for data in (plain, packed):
        np.testing.assert_array_equal(read_one(data).pixels, [[9] * 4, [7] * 4])


# --- orientation, of TIFF too ---------------------------------------------------------------------------------------


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
