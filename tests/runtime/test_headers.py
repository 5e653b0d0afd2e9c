from __future__ import annotations

import gzip
import struct
import time
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebrain.errors import ScanError, ScanTooLarge, UnreadableScan, UnsupportedScan
from edgebrain.readers import Limits, read, sniff, tiff
from edgebrain.readers.formats import FORMATS
from edgebrain.readers.headers import Header, check_limits, exif_orientation, parse, verify
from edgebrain.readers.tiff import parse_pages

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Bytes = Callable[..., bytes]


@pytest.fixture(autouse=True)
def _no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is refused here is refused from its header."""

    def decode(*_: object) -> None:
        pytest.fail("the decoder was called")

    monkeypatch.setattr(cv2, "imdecode", decode)


def jpeg_head(width: int, height: int, *, precision: int = 8, components: int = 1, marker: int = 0xC0) -> bytes:
    sof = struct.pack(">BHHB", precision, height, width, components) + b"\x01\x11\x00" * components
    sos = bytes([components]) + b"\x01\x00" * components + b"\x00\x3f\x00"
    return (
        b"\xff\xd8\xff"
        + bytes([marker])
        + struct.pack(">H", len(sof) + 2)
        + sof
        + b"\xff\xda"
        + struct.pack(">H", len(sos) + 2)
        + sos
    )


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"II*\0", "tiff"),
        (b"MM\0*", "tiff"),
        (b"II+\0", "tiff"),
        (b"MM\0+", "tiff"),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "bmp"),
        (bytes(128) + b"DICM", "dicom"),
        (bytes(344) + b"n+1\0", "nifti"),
        (gzip.compress(bytes(344) + b"n+1\0" + bytes(99)), "nifti"),
        (gzip.compress(b"something else"), "gzip"),
        (b"\x1f\x8b broken", "gzip"),
        (b"GIF89a", "gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
        (b"PK\x03\x04", "zip"),
        (b"%PDF-1.7", "pdf"),
        (b"\n<!DOCTYPE HTML>", "html"),
        (b"<?xml version='1.0'?>", "xml"),
        (b"\xef\xbb\xbfhello\n", "text"),
        ("grün ".encode() * 300, "text"),
        (("x" * 511 + "ü").encode(), "text"),
        (b"BM is how this text begins", "text"),
        (b"\0\1\2\3", None),
        (b"", None),
    ],
)
def test_content_is_told_by_its_bytes(data: bytes, form: str | None) -> None:
    assert sniff(data) == form


@given(st.binary(max_size=400))
def test_sniffing_gives_a_known_format_or_none(data: bytes) -> None:
    assert sniff(data) in {None, *FORMATS}


@pytest.mark.parametrize("side", [30_000, 65_535, 2**31 - 1])
def test_png_bombs_are_refused_before_decoding(png_bytes: Bytes, side: int) -> None:
    with pytest.raises(ScanTooLarge, match=f"{side:,} x {side:,}"):
        list(read(png_bytes((side, side, 8, 0), bytes(1000)), "bomb.png"))


def test_a_large_square_is_refused_for_its_pixels_and_a_ribbon_for_its_side(png_bytes: Bytes) -> None:
    with pytest.raises(ScanTooLarge, match="900,000,000 pixels is more"):
        list(read(png_bytes((30_000, 30_000, 8, 0), b""), "x"))
    with pytest.raises(ScanTooLarge, match="40,000 pixels on one side"):
        list(read(png_bytes((40_000, 1, 8, 0), b""), "x"))


def test_jpeg_bmp_and_tiff_bombs_are_refused_before_decoding(bmp_bytes: Bytes, tiff_bytes: Bytes) -> None:
    small = np.zeros((2, 2), np.uint8)
    for data in (
        jpeg_head(30_000, 30_000) + b"\xff\xd9",
        bmp_bytes((30_000, 30_000), 24, b""),
        bmp_bytes((30_000, -(2**31)), 24, b""),
        tiff_bytes(small, tags={256: [30_000], 257: [30_000]}),
        tiff_bytes(small, small, tags={256: [2**32 - 1], 257: [2**32 - 1]}),
        tiff_bytes(small, big=True, tags={256: [30_000], 257: [30_000]}),
    ):
        with pytest.raises(ScanTooLarge):
            list(read(data, "bomb"))


def test_a_tile_larger_than_the_limit_is_refused(tiff_bytes: Bytes) -> None:
    data = tiff_bytes(np.zeros((2, 2), np.uint8), tags={322: [65_536], 323: [65_536], 324: [8], 325: [4]})
    with pytest.raises(ScanTooLarge):
        list(read(data, "x"))


def test_memory_of_a_frame_is_bounded(tiff_bytes: Bytes) -> None:
    data = tiff_bytes(np.zeros((50, 50, 3), np.float64))
    with pytest.raises(ScanTooLarge, match="60,000 bytes decoded"):
        parse_pages(data, Limits(max_decoded_bytes=59_999), "x")
    assert len(parse_pages(data, Limits(max_decoded_bytes=60_000), "x")) == 1


def test_pages_are_bounded_in_number_and_together(tiff_bytes: Bytes) -> None:
    page = np.zeros((10, 10), np.uint8)
    data = tiff_bytes(page, page, page)
    assert len(parse_pages(data, Limits(max_frames=3, max_total_pixels=300), "x")) == 3
    with pytest.raises(ScanTooLarge, match="more than 2 pages"):
        parse_pages(data, Limits(max_frames=2), "x")
    with pytest.raises(ScanTooLarge, match="300 pixels together"):
        parse_pages(data, Limits(max_total_pixels=299), "x")


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_an_image_without_size_is_refused(png_bytes: Bytes, tiff_bytes: Bytes, size: tuple[int, int]) -> None:
    for data in (
        png_bytes((*size, 8, 0), b""),
        jpeg_head(*size) + b"\xff\xd9",
        tiff_bytes(np.zeros((2, 2), np.uint8), tags={256: [size[0]], 257: [size[1]]}),
    ):
        with pytest.raises(UnreadableScan, match="no image size"):
            list(read(data, "x"))


def test_png_header(png_bytes: Bytes) -> None:
    header = parse(png_bytes((7, 5, 16, 2), b""), "png", "x")
    assert (header.width, header.height, header.channels, header.sample_bytes) == (7, 5, 3, 2)
    for ihdr in ((7, 5, 3, 0), (7, 5, 8, 1), (7, 5, 16, 3)):
        with pytest.raises(UnreadableScan, match="header is damaged"):
            parse(png_bytes(ihdr, b""), "png", "x")


def test_an_animated_png_is_refused(png_bytes: Bytes) -> None:
    data = png_bytes((2, 1, 8, 0), b"\0\1\2", (b"acTL", bytes(8)))
    with pytest.raises(UnsupportedScan, match="animated"):
        list(read(data, "x"))


def test_a_png_without_image_data_is_refused(png_bytes: Bytes) -> None:
    data = png_bytes((2, 1, 8, 0), b"")
    start, end = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    with pytest.raises(UnreadableScan, match="no image data"):
        list(read(data[:start] + data[end:], "x"))


@given(st.data())
def test_every_flipped_byte_of_a_png_is_noticed(png_bytes: Bytes, data: st.DataObject) -> None:
    whole = png_bytes((4, 3, 8, 0), bytes(range(15)), (b"tEXt", b"Comment\0hello"))
    header = parse(whole, "png", "x")
    assert verify(whole, "png", header, "x") == header
    at = data.draw(st.integers(8, len(whole) - 1))
    broken = bytearray(whole)
    broken[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ScanError):
        verify(bytes(broken), "png", parse(bytes(broken), "png", "x"), "x")


def test_jpeg_header() -> None:
    header = parse(jpeg_head(7, 5, components=3), "jpeg", "x")
    assert (header.width, header.height, header.channels, header.scans_follow) == (7, 5, 3, False)
    assert parse(jpeg_head(7, 5, components=3, marker=0xC2), "jpeg", "x").scans_follow


@pytest.mark.parametrize("changes", [{"precision": 12}, {"components": 2}])
def test_unusual_jpegs_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(UnsupportedScan, match="a JPEG with"):
        parse(jpeg_head(7, 5, **changes), "jpeg", "x")


def test_a_jpeg_without_frame_header_is_refused() -> None:
    with pytest.raises(UnreadableScan, match="no frame header"):
        parse(b"\xff\xd8\xff\xda\x00\x02", "jpeg", "x")


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    data = jpeg_head(7, 5, marker=0xC2) + b"\xff\xda\x00\x02" * 600 + b"\xff\xd9"
    with pytest.raises(UnsupportedScan, match="500 scans"):
        list(read(data, "x"))


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_jpeg() -> None:
    thumbnail = b"Exif\0\0" + jpeg_head(2, 2) + b"\x12\xff\xd9"
    head = jpeg_head(7, 5)
    data = head[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + head[2:] + b"\x34\x56"
    header = parse(data, "jpeg", "x")
    with pytest.raises(UnreadableScan, match="cut short"):
        verify(data, "jpeg", header, "x")
    for tail in (b"\xff\xd9", b"\xff\xd9\0\0\0", b"\xff\xd9 and something else"):
        assert verify(data + tail, "jpeg", header, "x") == header


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(10))
def test_exif_orientation(order: str, value: int) -> None:
    mark = b"II" if order == "<" else b"MM"
    block = mark + struct.pack(order + "HIHHHIHH", 42, 8, 1, 274, 3, 1, value, 0)
    assert exif_orientation(block) == (value if 1 <= value <= 8 else 1)


@given(st.binary(max_size=60), st.sampled_from([b"II*\0", b"MM\0*", b""]))
def test_broken_exif_means_upright(block: bytes, mark: bytes) -> None:
    assert 1 <= exif_orientation(mark + block) <= 8


def test_bmp_header(bmp_bytes: Bytes) -> None:
    header = parse(bmp_bytes((7, -5), 24, b""), "bmp", "x")
    assert (header.width, header.height, header.channels, header.alpha) == (7, 5, 3, False)
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    assert parse(bmp_bytes((7, 5), 32, b"", coding=3, header=124, masks=masks), "bmp", "x").alpha
    assert not parse(bmp_bytes((7, 5), 32, b"", coding=3, masks=masks[:3]), "bmp", "x").alpha


@pytest.mark.parametrize(
    "changes",
    [
        {"header": 12},
        {"header": 64},
        {"bits": 2},
        {"coding": 4},
        {"bits": 32, "coding": 3, "masks": (0xFF, 0xFF00, 0xFF0000)},
        {"bits": 32, "coding": 3, "header": 124, "masks": (0x3FF00000, 0xFFC00, 0x3FF, 0)},
    ],
)
def test_unusual_bmps_are_refused(bmp_bytes: Bytes, changes: dict[str, Any]) -> None:
    data = bmp_bytes(**{"size": (7, 5), "bits": 24, "rows": bytes(200), **changes})
    with pytest.raises(UnsupportedScan, match="a BMP"):
        parse(data, "bmp", "x")


def test_tiff_pages(tiff_bytes: Bytes) -> None:
    pages = (np.zeros((5, 7), np.int16), np.zeros((9, 8), np.int16))
    for order in "<>":
        for big in (False, True):
            first, second = parse_pages(tiff_bytes(*pages, order=order, big=big), Limits(), "x")
            assert (first.header.width, first.header.height, first.dtype.name) == (7, 5, "int16")
            assert (second.header.width, second.header.height) == (8, 9)


def test_pages_in_a_circle_are_refused(tiff_bytes: Bytes) -> None:
    data = bytearray(tiff_bytes(np.zeros((2, 2), np.uint8)))
    data[-4:] = data[4:8]
    with pytest.raises(UnreadableScan, match="circle"):
        parse_pages(bytes(data), Limits(), "x")


def test_a_tiff_without_pages_is_refused() -> None:
    with pytest.raises(UnreadableScan, match="no page"):
        parse_pages(b"II*\0\0\0\0\0", Limits(), "x")


@pytest.mark.parametrize(
    "tags",
    [
        {273: [10_000]},
        {273: [2**32 - 1]},
        {279: [2**32 - 1]},
        {279: [3]},
        {278: [1]},
        {322: [16], 323: [16], 324: [8], 325: [4]},
    ],
)
@pytest.mark.parametrize("big", [False, True])
def test_strips_and_tiles_must_lie_in_the_file_and_hold_enough(
    tiff_bytes: Bytes, tags: dict[int, list[int]], *, big: bool
) -> None:
    with pytest.raises(UnreadableScan, match="cut short"):
        parse_pages(tiff_bytes(np.zeros((2, 2), np.uint8), tags=tags, big=big), Limits(), "x")


def test_a_tiff_beyond_the_reach_of_its_offsets_is_refused(tiff_bytes: Bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiff_bytes(np.zeros((2, 2), np.uint8), big=True)
    monkeypatch.setattr(tiff, "CLASSIC_REACH", len(data) - 1)
    with pytest.raises(ScanTooLarge, match="4 GiB"):
        tiff.parse_pages(data, Limits(), "x")


def test_a_directory_of_very_many_entries_is_refused() -> None:
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", 65_535) + bytes(12 * 65_535 + 4)
    with pytest.raises(UnreadableScan):
        parse_pages(data, Limits(), "x")


@pytest.mark.parametrize(
    ("dtype", "channels", "tags", "words"),
    [
        (np.uint8, 1, {258: [12]}, "12 bits"),
        (np.uint16, 1, {339: [3]}, "16 bits in a format"),
        (np.float32, 1, {339: [6]}, "format that is not read"),
        (np.uint8, 1, {259: [34_712]}, "compression 34712"),
        (np.uint8, 1, {259: [6]}, "compression 6"),
        (np.uint8, 3, {262: [8]}, "colour space 8"),
        (np.uint8, 4, {262: [5]}, "colour space 5"),
        (np.uint16, 1, {262: [3]}, "a palette of 16 bits"),
        (np.uint16, 3, {262: [6]}, "YCbCr"),
        (np.uint8, 5, {}, "5 samples"),
        (np.uint8, 3, {258: [8, 8, 16]}, "differ in kind"),
        (np.uint8, 3, {258: [4]}, "3 samples of 4 bits"),
        (np.uint8, 1, {259: [4]}, "fax"),
        (np.uint16, 1, {259: [7]}, "JPEG compression"),
        (np.uint16, 1, {317: [3]}, "predictor 3"),
        (np.uint8, 2, {317: [2]}, "predicted together"),
        (np.int64, 3, {}, "64-bit"),
    ],
)
def test_tiffs_that_would_be_decoded_wrongly_are_refused(
    tiff_bytes: Bytes, dtype: npt.DTypeLike, channels: int, tags: dict[int, list[int]], words: str
) -> None:
    page = np.zeros((4, 4, channels), dtype)
    with pytest.raises(UnsupportedScan, match=words) as caught:
        parse_pages(tiff_bytes(page, tags=tags), Limits(), "x.tif")
    assert "PNG" in str(caught.value)


@given(st.data())
def test_limits_hold_exactly_at_their_values(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 2000)), data.draw(st.integers(1, 2000))
    header = Header(width, height, channels=3, sample_bytes=2)
    exact = Limits(max_pixels=width * height, max_side=max(width, height), max_decoded_bytes=width * height * 6)
    check_limits(header, exact, "x")
    for field in ("max_pixels", "max_side", "max_decoded_bytes"):
        below = Limits(**{**vars(exact), field: getattr(exact, field) - 1})
        with pytest.raises(ScanTooLarge):
            check_limits(header, below, "x")


def test_a_long_chain_of_heavy_pages_is_parsed_in_bounded_time() -> None:
    # Every page names the same 30,000 strips: small file, much to check.
    strips = 30_000
    body = bytearray(b"II*\0\0\0\0\0")
    table = len(body)
    body += struct.pack("<I", 8) * strips
    link = 4
    tags = [(256, 1), (257, strips), (258, 8), (259, 8), (262, 1), (273, table), (277, 1), (278, 1), (279, table)]
    for _ in range(1000):
        struct.pack_into("<I", body, link, len(body))
        body += struct.pack("<H", len(tags))
        for tag, value in tags:
            body += struct.pack("<HHII", tag, 4, strips if tag in (273, 279) else 1, value)
        link = len(body)
        body += bytes(4)
    started = time.perf_counter()
    assert len(parse_pages(bytes(body), Limits(), "x")) == 1000
    assert time.perf_counter() - started < 20
