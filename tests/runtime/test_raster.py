from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgebrain.errors import ScanError, ScanTooLarge, UnreadableScan, UnsupportedScan
from edgebrain.readers import SUFFIXES, Limits, from_array, read, read_path, sniff
from edgebrain.readers.grey import color_fraction, over_black, to_grey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from edgebrain.types import Scan

    Bytes = Callable[..., bytes]
    Pixels = npt.NDArray[Any]

RNG = np.random.default_rng(7)
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")


def noise(dtype: str, *shape: int) -> Pixels:
    if dtype.startswith("f"):
        return RNG.normal(0, 1000, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def encode(suffix: str, pixels: Pixels) -> bytes:
    """Encoded by OpenCV; colours in RGB order go in."""
    ok, data = cv2.imencode(suffix, pixels[..., [2, 1, 0, 3][: pixels.shape[2]]] if pixels.ndim == 3 else pixels)
    assert ok
    return bytes(data)


def one(data: bytes) -> Scan:
    (scan,) = read(data, "x")
    return scan


def luma(rgb: Pixels) -> Pixels:
    weighted: Pixels = rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return weighted


# --- what is stored is what comes out -------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=st.sampled_from([(".png", "uint8"), (".png", "uint16"), (".bmp", "uint8")]),
    channels=st.sampled_from([1, 3, 4]),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 9),
)
def test_path_bytes_and_array_give_the_same_bits(
    tmp_path: Path, case: tuple[str, str], channels: int, size: tuple[int, int], seed: int
) -> None:
    suffix, dtype = case
    shape = size if channels == 1 else (*size, channels)
    channels_kept = 3 if suffix == ".bmp" and channels == 4 else channels  # OpenCV 4 writes no alpha into a BMP
    top = np.iinfo(dtype).max
    pixels = np.random.default_rng(seed).integers(0, top, shape, dtype=dtype, endpoint=True)
    pixels = pixels[..., :3] if channels_kept == 3 else pixels
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode(suffix, pixels))
    (by_path,) = read_path(path)
    by_bytes, by_array = one(path.read_bytes()), from_array(pixels)
    assert by_path.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(by_path.pixels, by_array.pixels)
    np.testing.assert_array_equal(by_bytes.pixels, by_array.pixels)
    assert by_path.color_fraction == by_bytes.color_fraction == by_array.color_fraction
    assert by_path.warnings == by_array.warnings


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), dtype=st.sampled_from(["uint8", "uint16", "float32"]), channels=st.sampled_from([(), (3,)]))
def test_tiff_path_bytes_and_array_give_the_same_bits(
    tmp_path: Path, tiff_bytes: Bytes, data: st.DataObject, dtype: str, channels: tuple[int, ...]
) -> None:
    size = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    pixels = data.draw(hnp.arrays(dtype, size + channels))  # floats: infinities and NaN as well
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_bytes(pixels))
    (by_path,) = read_path(path)
    by_bytes, by_array = one(path.read_bytes()), from_array(pixels)
    for scan in (by_path, by_bytes):
        assert scan.pixels.dtype == dtype
        np.testing.assert_array_equal(scan.pixels, by_array.pixels)
    if not channels:
        np.testing.assert_array_equal(by_array.pixels, pixels)


def test_a_scan_says_where_it_comes_from(tmp_path: Path, head: npt.NDArray[np.uint8]) -> None:
    data = encode(".png", head)
    (tmp_path / "x").mkdir()
    (tmp_path / "a.png").write_bytes(data)
    given = f"{tmp_path}/x/../a.png"
    (scan,) = read_path(given)
    assert scan.source == given
    assert scan.sha256 == hashlib.sha256(data).hexdigest()
    assert (scan.format, scan.frame, scan.frames, scan.spacing, scan.warnings) == ("png", 0, 1, None, ())


def test_the_name_decides_nothing(tmp_path: Path, head: npt.NDArray[np.uint8]) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(".png", head))
    (scan,) = read_path(tmp_path / "a.jpg")
    assert scan.format == "png"
    assert {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"} <= SUFFIXES
    assert all(suffix == suffix.lower() for suffix in SUFFIXES)


def test_blank_and_tiny_images_are_handed_on() -> None:
    for shape in ((1, 1), (1, 500), (64, 64)):
        assert one(encode(".png", np.zeros(shape, np.uint8))).pixels.shape == shape


# --- PNG ------------------------------------------------------------------------------------------------------------


def png_rows(samples: Pixels) -> bytes:
    return b"".join(b"\0" + row.astype(samples.dtype.newbyteorder(">")).tobytes() for row in samples)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_grey_with_alpha_is_put_on_black(png_bytes: Bytes, dtype: str) -> None:
    top = np.iinfo(dtype).max
    samples = noise(dtype, 5, 7, 2)
    samples[0, :, 1], samples[1, :, 1] = top, 0
    scan = one(png_bytes((7, 5, samples.dtype.itemsize * 8, 4), png_rows(samples)))
    expected = samples[..., 0].astype(np.float64) * samples[..., 1] / top
    assert scan.pixels.dtype == dtype
    assert np.abs(scan.pixels - expected).max() <= 0.5
    np.testing.assert_array_equal(scan.pixels[0], samples[0, :, 0])
    assert not scan.pixels[1].any()
    assert "transparent" in scan.warnings[0]
    assert scan.color_fraction == 0


def test_opaque_alpha_changes_nothing(head: npt.NDArray[np.uint8]) -> None:
    scan = one(encode(".png", np.dstack([head, head, head, np.full_like(head, 255)])))
    np.testing.assert_array_equal(scan.pixels, head)
    assert scan.warnings == ()


def test_png_palette(png_bytes: Bytes) -> None:
    palette = noise("uint8", 256, 3)
    index = noise("uint8", 6, 8)
    data = png_bytes((8, 6, 8, 3), png_rows(index), (b"PLTE", palette.tobytes()))
    np.testing.assert_array_equal(one(data).pixels, from_array(palette[index]).pixels)


def test_png_of_few_bits_is_scaled_to_bytes(png_bytes: Bytes) -> None:
    data = png_bytes((8, 1, 1, 0), b"\0" + bytes([0b10110000]))
    np.testing.assert_array_equal(one(data).pixels, [[255, 0, 255, 255, 0, 0, 0, 0]])
    data = png_bytes((4, 1, 2, 0), b"\0" + bytes([0b00011011]))
    np.testing.assert_array_equal(one(data).pixels, [[0, 85, 170, 255]])


def test_png_exif_orientation(png_bytes: Bytes, exif_jpeg: Bytes) -> None:
    block = exif_jpeg(b"\xff\xd8", 6)[12:]
    data = png_bytes((2, 1, 8, 0), b"\0\1\2", (b"eXIf", block))
    np.testing.assert_array_equal(one(data).pixels, [[1], [2]])


# --- JPEG -----------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_jpeg_orientation_is_undone_once(
    exif_jpeg: Bytes, head: npt.NDArray[np.uint8], orientation: int, order: str
) -> None:
    jpeg = encode(".jpg", stored_as(head, orientation))
    data = exif_jpeg(jpeg, orientation, order)
    scan = one(data)
    assert scan.pixels.shape == head.shape
    assert np.abs(scan.pixels.astype(int) - head).mean() < 3
    # OpenCV's own idea of upright, from the same file.
    reference = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(scan.pixels, reference)


def test_grey_and_colour_jpeg(head: npt.NDArray[np.uint8]) -> None:
    data = encode(".jpg", head)
    np.testing.assert_array_equal(one(data).pixels, cv2.imdecode(np.frombuffer(data, np.uint8), -1))
    colour = np.dstack([head, head // 2, 255 - head])
    data = encode(".jpg", colour)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    decoded = decoded[..., ::-1]
    np.testing.assert_array_equal(one(data).pixels, from_array(decoded).pixels)
    grey_in_three = encode(".jpg", np.dstack([head] * 3))
    assert one(grey_in_three).color_fraction == 0


def test_progressive_jpeg(head: npt.NDArray[np.uint8]) -> None:
    ok, data = cv2.imencode(".jpg", head, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_QUALITY, 95])
    assert ok
    assert np.abs(one(bytes(data)).pixels.astype(int) - head).mean() < 2


# --- BMP ------------------------------------------------------------------------------------------------------------


def test_bmp_row_order_and_padding(bmp_bytes: Bytes) -> None:
    rows = bytes([1, 1, 1, 2, 2, 2, 0, 0, 3, 3, 3, 4, 4, 4, 0, 0])
    np.testing.assert_array_equal(one(bmp_bytes((2, 2), 24, rows)).pixels, [[3, 4], [1, 2]])
    np.testing.assert_array_equal(one(bmp_bytes((2, -2), 24, rows)).pixels, [[1, 2], [3, 4]])


def test_the_fourth_byte_of_a_bmp_is_alpha_only_where_the_header_says_so(bmp_bytes: Bytes) -> None:
    rows = bytes([10, 10, 10, 0, 20, 20, 20, 255])
    masks = (0xFF0000, 0xFF00, 0xFF)
    np.testing.assert_array_equal(one(bmp_bytes((2, 1), 32, rows)).pixels, [[10, 20]])
    np.testing.assert_array_equal(one(bmp_bytes((2, 1), 32, rows, coding=3, masks=masks)).pixels, [[10, 20]])
    with_alpha = bmp_bytes((2, 1), 32, rows, coding=3, header=124, masks=(*masks, 0xFF000000))
    np.testing.assert_array_equal(one(with_alpha).pixels, [[0, 20]])


def test_bmp_palette_and_run_lengths(bmp_bytes: Bytes) -> None:
    palette = b"".join(bytes((i, i, i, 0)) for i in range(256))
    plain = bmp_bytes((4, 2), 8, bytes([7, 7, 7, 7, 9, 9, 9, 9]), palette=palette)
    packed = bmp_bytes((4, 2), 8, bytes([4, 7, 0, 0, 4, 9, 0, 1]), palette=palette, coding=1)
    for data in (plain, packed):
        np.testing.assert_array_equal(one(data).pixels, [[9] * 4, [7] * 4])


# --- TIFF -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("coding", [1, 8])
def test_tiff_grey_of_every_sample_type(tiff_bytes: Bytes, dtype: str, order: str, *, big: bool, coding: int) -> None:
    pixels = noise(dtype, 9, 7)
    scan = one(tiff_bytes(pixels, order=order, big=big, coding=coding))
    assert scan.pixels.dtype == dtype
    np.testing.assert_array_equal(scan.pixels, pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("separate", [False, True])
def test_tiff_colours(tiff_bytes: Bytes, dtype: str, channels: int, *, separate: bool) -> None:
    pixels = noise(dtype, 9, 7, channels)
    extra = {338: [2]} if channels == 4 else {}
    if channels == 4 and dtype.startswith("f"):
        pixels[..., 3] = RNG.random((9, 7))
    scan, expected = one(tiff_bytes(pixels, separate=separate, tags=extra)), from_array(pixels)
    np.testing.assert_array_equal(scan.pixels, expected.pixels)
    assert scan.color_fraction == expected.color_fraction > 0.1


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("extra", [0, 1, 2])
def test_tiff_grey_with_alpha(tiff_bytes: Bytes, dtype: str, extra: int, *, separate: bool) -> None:
    pixels = noise(dtype, 9, 7, 2)
    pixels[..., 1] = pixels[..., 1] if dtype != "float32" else RNG.random((9, 7))
    scan = one(tiff_bytes(pixels, separate=separate, tags={338: [extra]}))
    # Only straight alpha (2) still has to be multiplied; 1 is multiplied already, 0 is something else.
    color = pixels[..., :1]
    expected = over_black(color, pixels[..., 1])[0] if extra == 2 else color
    np.testing.assert_array_equal(scan.pixels, expected[..., 0])


@pytest.mark.parametrize("extra", [0, 1])
def test_tiff_colours_that_need_no_alpha_are_left_alone(tiff_bytes: Bytes, extra: int) -> None:
    pixels = noise("uint8", 9, 7, 4)
    scan = one(tiff_bytes(pixels, tags={338: [extra]}))
    np.testing.assert_array_equal(scan.pixels, from_array(pixels[..., :3]).pixels)
    assert scan.warnings == ()


@pytest.mark.parametrize("dtype", DTYPES)
def test_white_is_zero_is_turned_to_bright_is_bright(tiff_bytes: Bytes, dtype: str) -> None:
    pixels = noise(dtype, 9, 7)
    scan = one(tiff_bytes(pixels, tags={262: [0]}))
    np.testing.assert_array_equal(scan.pixels, -pixels if dtype.startswith("f") else ~pixels)
    assert scan.pixels.flat[int(pixels.argmin())] == scan.pixels.max()


def test_white_is_zero_leaves_alpha_alone(tiff_bytes: Bytes) -> None:
    pixels = np.array([[[0, 255], [255, 255], [0, 0]]], np.uint8)
    np.testing.assert_array_equal(one(tiff_bytes(pixels, tags={262: [0], 338: [2]})).pixels, [[255, 0, 0]])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiff_orientation_is_undone_once(tiff_bytes: Bytes, orientation: int, dtype: str) -> None:
    for upright in (noise(dtype, 9, 7), noise(dtype, 9, 7, 3)):
        scan = one(tiff_bytes(stored_as(upright, orientation), tags={274: [orientation]}))
        np.testing.assert_array_equal(scan.pixels, from_array(upright).pixels)


def test_tiff_palette(tiff_bytes: Bytes) -> None:
    index = noise("uint8", 6, 8)
    palette = noise("uint8", 256, 3)
    data = bytearray(tiff_bytes(index, tags={262: [3], 320: (palette.T.ravel().astype(int) * 257).tolist()}))
    # The palette is one of SHORTs; the writer writes LONGs, so that their type and values are put right here.
    entry = data.index((320).to_bytes(2, "little") + b"\4\0\0\3\0\0")
    at = int.from_bytes(data[entry + 8 : entry + 12], "little")
    data[entry + 2] = 3
    data[at : at + 1536] = (palette.T.ravel().astype("<u2") * 257).tobytes()
    np.testing.assert_array_equal(one(bytes(data)).pixels, from_array(palette[index]).pixels)


def test_tiff_bilevel(tiff_bytes: Bytes) -> None:
    packed = np.array([[0b10110000]], np.uint8)
    for photometric, first in ((1, 255), (0, 0)):
        data = tiff_bytes(packed, tags={256: [8], 258: [1], 262: [photometric]})
        assert one(data).pixels.tolist()[0][:2] == [first, 255 - first]


def test_tiff_tiles(tiff_bytes: Bytes) -> None:
    tile = noise("uint16", 32, 32)
    data = bytearray(tiff_bytes(tile, tags={322: [32], 323: [32], 324: [8], 325: [2048]}))
    np.testing.assert_array_equal(one(bytes(data)).pixels, tile)


def test_tiff_difference_predictor(tiff_bytes: Bytes) -> None:
    pixels = noise("uint16", 9, 7)
    stored = np.diff(pixels, axis=1, prepend=np.uint16(0))
    np.testing.assert_array_equal(one(tiff_bytes(stored, coding=8, tags={317: [2]})).pixels, pixels)


def test_every_page_is_a_scan(tiff_bytes: Bytes) -> None:
    pages = [noise("uint16", 5 + i, 7) for i in range(4)] + [noise("float32", 3, 3)]
    scans = list(read(tiff_bytes(*pages), "x"))
    assert [(s.frame, s.frames) for s in scans] == [(i, 5) for i in range(5)]
    assert len({s.sha256 for s in scans}) == 1
    for scan, page in zip(scans, pages, strict=True):
        np.testing.assert_array_equal(scan.pixels, page)


def test_pages_are_decoded_one_at_a_time(tiff_bytes: Bytes, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_all_pages_are_checked_before_the_first_is_decoded(tiff_bytes: Bytes) -> None:
    data = tiff_bytes(noise("uint8", 5, 5), noise("uint8", 50, 50))
    with pytest.raises(ScanTooLarge):
        next(read(data, "x", Limits(max_pixels=100)))


def test_damaged_compressed_data_is_refused(tiff_bytes: Bytes) -> None:
    data = tiff_bytes(noise("uint16", 50, 50), coding=8)
    broken = data[:2000] + bytes(b ^ 0x55 for b in data[2000:2100]) + data[2100:]
    with pytest.raises(UnreadableScan, match="damaged"):
        one(broken)


# --- arrays ---------------------------------------------------------------------------------------------------------


def test_arrays_of_any_layout_give_the_same_scan() -> None:
    pixels = noise("uint16", 20, 30, 3)
    expected = from_array(pixels)
    swapped = pixels.astype(">u2")
    for same in (np.asfortranarray(pixels), pixels[::-1][::-1], swapped):
        scan = from_array(same)
        np.testing.assert_array_equal(scan.pixels, expected.pixels)
        assert scan.sha256 == expected.sha256
        assert scan.pixels.dtype.isnative
    assert from_array(pixels[..., :1]).pixels.shape == (20, 30)
    assert expected.source == "<array>"
    assert expected.format == "array"


def test_the_digest_of_an_array_tells_dtype_shape_and_pixels() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    others = (pixels.reshape(6, 4), pixels.view(np.int8), pixels + np.uint8(1), pixels[:, :, None])
    assert len({from_array(p).sha256 for p in (pixels, *others)}) == 5


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(5),
        np.zeros((2, 3, 4, 1)),
        np.zeros((2, 3, 2)),
        np.zeros((2, 3, 5)),
        np.zeros((0, 3)),
        np.zeros((2, 0, 3)),
        np.float32(1),
        np.zeros((2, 2), bool),
        np.zeros((2, 2), complex),
        np.zeros((2, 2), object),
        np.zeros((2, 2), "datetime64[s]"),
        np.zeros((2, 2), np.longdouble),
        np.zeros((2, 2, 3), np.int64),
        "text",
        None,
    ],
)
def test_other_arrays_are_refused(array: object) -> None:
    with pytest.raises(UnsupportedScan) as caught:
        from_array(array, "mine")
    assert caught.value.message.startswith("mine: ")
    assert caught.value.remedy


@pytest.mark.parametrize("dtype", [*DTYPES, "float16"])
def test_equal_channels_give_exactly_their_value(dtype: str) -> None:
    pixels = noise(dtype, 200, 330)
    if dtype in ("int64", "uint64"):
        np.testing.assert_array_equal(from_array(pixels).pixels, pixels)
        return
    scan = from_array(np.dstack([pixels] * 3))
    np.testing.assert_array_equal(scan.pixels, pixels)
    assert scan.pixels.dtype == dtype
    assert scan.color_fraction == 0


def test_every_16_bit_value_survives_as_grey() -> None:
    values = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(from_array(np.dstack([values] * 3)).pixels, values)


def pixels_of(dtype: str) -> st.SearchStrategy[Pixels]:
    limit = 2.0**100
    elements = {"min_value": -limit, "max_value": limit, "allow_subnormal": False} if dtype.startswith("f") else None
    return hnp.arrays(dtype, (4, 5, 3), elements=elements)


@given(st.sampled_from(["uint8", "uint16", "int16", "float32"]).flatmap(pixels_of))
def test_grey_is_bt601(pixels: Pixels) -> None:
    grey = to_grey(pixels, "rgb")
    largest = np.abs(pixels.astype(np.float64)).max()
    # Integers are rounded, with weights of 15 bits.
    slack = 1e-6 * largest + 1e-37 if pixels.dtype.kind == "f" else 0.501 + largest / 2**14
    assert np.abs(grey.astype(np.float64) - luma(pixels)).max() <= slack
    np.testing.assert_array_equal(grey, to_grey(np.ascontiguousarray(pixels[..., ::-1]), "bgr"))


def test_share_of_coloured_pixels() -> None:
    pixels = np.full((300, 200, 3), 100, np.uint8)
    assert color_fraction(pixels) == 0
    pixels[:, :50, 0] = 126
    assert color_fraction(pixels) == pytest.approx(0.25, abs=0.02)
    pixels[:, :50, 0] = 125  # 25 is below a tenth of 255
    assert color_fraction(pixels) == 0
    # 12-bit values in 16 bits: the range is the image's own.
    twelve = np.zeros((100, 100, 3), np.uint16)
    twelve[:50] = 4000
    twelve[:25, :, 1] = 3000
    assert color_fraction(twelve) == pytest.approx(0.25, abs=0.02)
    assert color_fraction((twelve / 4000).astype(np.float32)) == pytest.approx(0.25, abs=0.02)
    assert color_fraction(np.full((3, 3, 3), np.nan)) == 0
    assert color_fraction(np.zeros((1, 1, 3), np.float32)) == 0


# --- what is no image, or not a whole one ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"just some text\n", UnreadableScan, "plain text"),
        (b"%PDF-1.7\n%...", UnreadableScan, "PDF"),
        (b"PK\x03\x04 rest", UnreadableScan, "zip"),
        (b"<!doctype html><p>404", UnreadableScan, "HTML"),
        (b"\0\1\2\3\4\5", UnreadableScan, "no image format"),
        (b"GIF89a rest", UnsupportedScan, "GIF"),
        (b"RIFF\0\0\0\0WEBPVP8 ", UnsupportedScan, "WebP"),
        (bytes(128) + b"DICM", UnsupportedScan, "DICOM"),
        (bytes(344) + b"n+1\0", UnsupportedScan, "NIfTI"),
    ],
)
def test_other_content_is_called_by_its_name(
    tmp_path: Path, content: bytes, error: type[ScanError], words: str
) -> None:
    path = tmp_path / "scan.png"
    path.write_bytes(content)
    with pytest.raises(error, match=words) as caught:
        list(read_path(path))
    assert type(caught.value) is error
    assert str(path) in caught.value.message
    assert caught.value.remedy


def test_no_data_is_refused() -> None:
    with pytest.raises(UnreadableScan, match="no data"):
        list(read(b"", "<bytes>"))


def valid_files() -> dict[str, bytes]:
    grey = (np.add.outer(np.arange(24), np.arange(31)) * 4).astype(np.uint8)
    deep = grey.astype(np.uint16) * 200
    colour = np.dstack([grey, grey[::-1], grey])
    files = {f"{s} {n}": encode(s, p) for s in (".png", ".bmp", ".tiff") for n, p in (("g", grey), ("c", colour))}
    files |= {".jpg g": encode(".jpg", grey), ".jpg c": encode(".jpg", colour)}
    return files | {".png deep": encode(".png", deep), ".tiff deep": encode(".tiff", deep)}


FILES = valid_files()


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_refused(name: str) -> None:
    whole = FILES[name]
    pixels = one(whole).pixels
    for end in range(len(whole)):
        try:
            scans = list(read(whole[:end], "x"))
        except ScanError:
            continue
        # Only what does not belong to the image may be missing.
        np.testing.assert_array_equal(scans[0].pixels, pixels)
        assert end > len(whole) * 0.9


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("tail", [b"\0\0\0", b"something else"])
def test_bytes_behind_the_image_are_tolerated(name: str, tail: bytes) -> None:
    np.testing.assert_array_equal(one(FILES[name] + tail).pixels, one(FILES[name]).pixels)


@settings(deadline=None, max_examples=400)
@given(
    name=st.sampled_from(sorted(FILES)),
    flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_flipped_bytes_give_scans_or_scan_errors(name: str, flips: list[tuple[int, int]]) -> None:
    broken = bytearray(FILES[name])
    for at, value in flips:
        broken[at % len(broken)] ^= value
    try:
        scans = list(read(bytes(broken), "x", Limits(max_pixels=10**6)))
    except ScanError as error:
        assert error.message.startswith("x: ")  # noqa: PT017 - either way is right
    else:
        assert all(scan.pixels.ndim == 2 for scan in scans)


@settings(deadline=None, max_examples=400)
@given(
    start=st.sampled_from(
        [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0", b"BM"]
    ),
    rest=st.binary(max_size=300),
)
def test_any_bytes_give_scans_or_scan_errors(start: bytes, rest: bytes) -> None:
    try:
        list(read(start + rest, "x", Limits(max_pixels=10**6)))
    except ScanError as error:
        assert error.message.startswith("x: ")  # noqa: PT017 - either way is right


@settings(deadline=None, max_examples=300)
@given(
    tags=st.dictionaries(
        st.sampled_from([256, 257, 258, 259, 262, 266, 274, 277, 278, 284, 317, 322, 323, 324, 325, 338, 339]),
        st.lists(st.one_of(st.integers(0, 40), st.integers(0, 2**32 - 1)), min_size=1, max_size=4),
        max_size=4,
    ),
    shape=st.sampled_from([(16, 16), (16, 16, 2), (16, 16, 3), (16, 16, 4)]),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    big=st.booleans(),
)
def test_lying_tiff_tags_give_scans_or_scan_errors(
    tiff_bytes: Bytes, tags: dict[int, list[int]], shape: tuple[int, ...], dtype: str, *, big: bool
) -> None:
    data = tiff_bytes(np.ones(shape, dtype), tags=tags, big=big)
    try:
        list(read(data, "x", Limits(max_pixels=10**6)))
    except ScanError as error:
        assert error.message.startswith("x: ")  # noqa: PT017 - either way is right


def _fail(error: Exception) -> Callable[..., Any]:
    def decode(*_: object) -> Any:
        raise error

    return decode


@pytest.mark.parametrize(
    ("decode", "error", "words"),
    [
        (_fail(cv2.error("broken")), UnreadableScan, "damaged"),
        (_fail(MemoryError()), ScanTooLarge, "not enough memory"),
        (lambda *_: None, UnreadableScan, "damaged"),
        (lambda *_: np.zeros((3, 3), np.uint8), UnreadableScan, "not of the size"),
        (lambda *_: np.zeros((24, 31), np.uint16), UnreadableScan, "decoded 8-bit samples as uint16"),
    ],
)
def test_whatever_the_decoder_does_is_one_error(
    monkeypatch: pytest.MonkeyPatch, decode: Callable[..., Any], error: type[ScanError], words: str
) -> None:
    monkeypatch.setattr(cv2, "imdecode", decode)
    with pytest.raises(error, match=words) as caught:
        one(FILES[".tiff g"])
    assert type(caught.value) is error


def test_a_passed_on_tag_outside_the_file_is_left_out(tiff_bytes: Bytes) -> None:
    pixels = noise("uint8", 4, 4)
    data = bytearray(tiff_bytes(pixels, tags={532: [0, 255, 0, 255, 0, 255]}))
    entry = data.index((532).to_bytes(2, "little") + b"\4\0\6\0\0\0")
    data[entry + 8 : entry + 12] = b"\xff\xff\xff\x7f"
    np.testing.assert_array_equal(one(bytes(data)).pixels, pixels)


# --- good manners ---------------------------------------------------------------------------------------------------

QUIET = """
import sys
from edgebrain.readers import read
from edgebrain.errors import ScanError
assert "cv2" not in sys.modules
try:
    list(read(open(sys.argv[1], "rb").read(), "x"))
except ScanError:
    print("refused")
"""


def test_the_package_loads_without_opencv_and_decoding_keeps_stderr_quiet(tmp_path: Path, tiff_bytes: Bytes) -> None:
    path = tmp_path / "a.tif"
    data = tiff_bytes(noise("uint16", 50, 50), coding=8)
    path.write_bytes(data[:2000] + bytes(100) + data[2100:])
    env = {k: v for k, v in os.environ.items() if k != "OPENCV_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", QUIET, path], capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "refused\n"
    if int(cv2.__version__.split(".")[0]) >= 5:  # OpenCV 4 writes some lines past its own log
        assert done.stderr == ""


def test_the_log_level_of_opencv_is_put_back() -> None:
    # OpenCV 5 moved it; what types it has depends on the version as well.
    level: Callable[[], int] = getattr(cv2, "getLogLevel", None) or cv2.utils.logging.getLogLevel
    before = level()
    bad = zlib.compress(b"x")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: _try(FILES[".png g"] if i % 2 else b"II*\0" + bad), range(200)))
    assert level() == before


def _try(data: bytes) -> None:
    try:
        one(data)
    except ScanError:
        assert sniff(data) == "tiff"


def test_threads_get_the_same_pixels() -> None:
    expected = {name: one(data).pixels for name, data in FILES.items()}
    with ThreadPoolExecutor(4) as pool:
        for name, pixels in pool.map(lambda n: (n, one(FILES[n]).pixels), list(FILES) * 20):
            np.testing.assert_array_equal(pixels, expected[name])
