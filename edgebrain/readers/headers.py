"""What PNG, JPEG and BMP files say about themselves, read without decoding a pixel. Pure functions over bytes.

Sources: PNG, W3C Recommendation, third edition (chunk layout, CRC); JPEG, ITU-T T.81 Annex B (markers); BMP, Microsoft
``BITMAPINFOHEADER`` and ``BITMAPV5HEADER``; orientation, CIPA DC-008 (Exif 2.32) tag 274. TIFF is in ``tiff.py``.
"""

# ruff: noqa: PLR2004 - the numbers in comparisons are those of the format specifications
from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgebrain.errors import ScanTooLarge, UnreadableScan, UnsupportedScan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1024 * 1024
AS_PNG = "Save it as an 8- or 16-bit PNG and try again."
COPY_AGAIN = "Copy or export the file again."

EXIF_MAGIC = b"Exif\0\0"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_CHANNELS = {0: 1, 2: 3, 3: 4, 4: 4, 6: 4}  # as decoded: a palette may carry alpha
PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}

JPEG_EOI = b"\xff\xd9"
JPEG_SOS = 0xDA
JPEG_APP1 = 0xE1
JPEG_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
JPEG_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
JPEG_MAX_SCANS = 500  # a progressive file has about ten; thousands over a large frame take hours

BMP_HEADERS = frozenset({40, 52, 56, 108, 124})
BMP_V4 = 108
BMP_BITS = frozenset({1, 4, 8, 16, 24, 32})
BMP_RGB, BMP_RLE8, BMP_RLE4, BMP_BITFIELDS = range(4)
BMP_RGB_MASKS = (0xFF0000, 0xFF00, 0xFF)


@dataclass(frozen=True)
class Limits:
    """What a file may cost, checked before decoding.

    Attributes:
        max_file_bytes: Size of the file.
        max_pixels: Pixels of one frame.
        max_side: Columns or rows of one frame.
        max_frames: Frames of one file.
        max_decoded_bytes: Memory of one decoded frame.
        max_total_pixels: Pixels of all frames of one file together; bounds the time a file takes.
    """

    max_file_bytes: int = 512 * MIB
    max_pixels: int = 100_000_000
    max_side: int = 32_768
    max_frames: int = 4096
    max_decoded_bytes: int = 512 * MIB
    max_total_pixels: int = 4_000_000_000


@dataclass(frozen=True)
class Header:
    """One frame as its file announces it.

    Attributes:
        width: Stored columns, before orientation.
        height: Stored rows, before orientation.
        frames: Frames in the file.
        channels: Samples a pixel in the decoder's output, at most.
        sample_bytes: Bytes of one decoded sample.
        alpha: Whether a fourth channel, if the decoder gives one, is opacity to be composited.
        orientation: Exif orientation, 1 to 8; 1 is upright.
        body: Offset of the pixel data.
        scans_follow: Whether a JPEG may have more scans than one.
    """

    width: int
    height: int
    frames: int = 1
    channels: int = 1
    sample_bytes: int = 1
    alpha: bool = False
    orientation: int = 1
    body: int = 0
    scans_follow: bool = False


def check_limits(header: Header, limits: Limits, source: str) -> None:
    """Refuse a frame that is empty or over a limit.

    Raises:
        UnreadableScan: Width or height is not positive.
        ScanTooLarge: A limit is passed.
    """
    if header.width < 1 or header.height < 1:
        raise UnreadableScan(
            f"{source}: the header gives no image size ({header.width} x {header.height}).", remedy=COPY_AGAIN
        )
    pixels = header.width * header.height
    checks = (
        (header.width * header.height, limits.max_pixels, "pixels"),
        (max(header.width, header.height), limits.max_side, "pixels on one side"),
        (pixels * header.channels * header.sample_bytes, limits.max_decoded_bytes, "bytes decoded"),
    )
    for found, allowed, unit in checks:
        if found > allowed:
            raise ScanTooLarge(
                f"{source}: the header announces {header.width:,} x {header.height:,} pixels; {found:,} {unit} is more "
                f"than the limit of {allowed:,}.",
                remedy="Give single slices or a smaller export.",
            )


def parse(data: bytes, form: str, source: str) -> Header:
    """Read the size and kind of a PNG, JPEG or BMP image from its first bytes.

    Args:
        data: The file.
        form: ``png``, ``jpeg`` or ``bmp``, as sniffed.
        source: Name for messages.

    Returns:
        The announced frame; nothing in it is verified but that it makes sense.

    Raises:
        UnreadableScan: The header is cut short or impossible.
        UnsupportedScan: The variant is one that cannot be decoded faithfully.
    """
    return _guarded(_PARSERS[form], data, source)


def verify(data: bytes, form: str, header: Header, source: str) -> Header:
    """Refuse a PNG, JPEG or BMP file that is cut short or (PNG) damaged.

    Returns:
        The header, with what only the whole file tells: the orientation of a PNG.

    Raises:
        UnreadableScan: The file ends before its image does, or a checksum is wrong.
    """
    return _guarded(lambda d, s: _VERIFIERS[form](d, header, s), data, source)


def exif_orientation(tiff: bytes) -> int:
    """Orientation from an Exif block, without the ``Exif`` in front of it; 1 where it is missing or broken.

    Args:
        tiff: A TIFF header and at least its first directory.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 10:
        return 1
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    if start + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(order + "H", tiff, start)
    entries = tiff[start + 2 : start + 2 + 12 * count]
    for tag, kind, number, value in struct.iter_unpack(order + "HHIH2x", entries[: len(entries) // 12 * 12]):
        if tag == 274:
            return int(value) if kind == 3 and number == 1 and 1 <= value <= 8 else 1
    return 1


def _guarded(step: Callable[[bytes, str], Header], data: bytes, source: str) -> Header:
    try:
        return step(data, source)
    except (struct.error, IndexError) as error:
        raise cut_short(source) from error


def cut_short(source: str) -> UnreadableScan:
    """The error for a file that ends before its image does."""
    return UnreadableScan(f"{source}: the file is cut short.", remedy=COPY_AGAIN)


def _parse_png(data: bytes, source: str) -> Header:
    length, kind, width, height, depth, color = struct.unpack_from(">I4sIIBB", data, len(PNG_MAGIC))
    if kind != b"IHDR" or length != 13 or depth not in PNG_DEPTHS.get(color, ()):
        raise UnreadableScan(f"{source}: the PNG header is damaged.", remedy=COPY_AGAIN)
    # 16-bit grey with alpha is decoded to four channels; palette and low depths to bytes.
    return Header(width=width, height=height, channels=PNG_CHANNELS[color], sample_bytes=1 + depth // 16, alpha=True)


def _png_chunks(data: bytes, source: str) -> Iterator[tuple[bytes, memoryview]]:
    view, at = memoryview(data), len(PNG_MAGIC)
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        (crc,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(view[at + 4 : end]) != crc:
            raise UnreadableScan(
                f"{source}: the PNG is damaged (checksum of its {kind.decode('latin-1')} chunk).", remedy=COPY_AGAIN
            )
        yield kind, view[at + 8 : end]
        if kind == b"IEND":
            return
        at = end + 4


def _verify_png(data: bytes, header: Header, source: str) -> Header:
    orientation, pixels = 1, False
    for kind, payload in _png_chunks(data, source):
        pixels = pixels or kind == b"IDAT"
        if kind == b"eXIf":
            orientation = exif_orientation(bytes(payload))
        elif kind == b"acTL":
            raise UnsupportedScan(f"{source}: an animated PNG.", remedy="Save each image as a PNG of its own.")
    if not pixels:
        raise UnreadableScan(f"{source}: the PNG holds no image data.", remedy=COPY_AGAIN)
    return replace(header, orientation=orientation)


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of payload of each segment up to and including the first start of scan."""
    at = 2
    while True:
        # Anything before the next marker is skipped, as decoders do; 0xFF may be repeated as padding.
        at = data.index(b"\xff", at)
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        at += 1
        if marker in JPEG_STANDALONE or marker == 0:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        yield marker, at + 2, at + length
        if marker == JPEG_SOS:
            return
        at += max(length, 2)


def _parse_jpeg(data: bytes, source: str) -> Header:
    frame: tuple[int, int, int, int] | None = None
    orientation, start, follow = 1, 0, False
    try:
        for marker, begin, end in jpeg_segments(data):
            if marker in JPEG_SOF and frame is None:
                frame = struct.unpack_from(">BHHB", data, begin)
                follow = marker in JPEG_PROGRESSIVE
            elif marker == JPEG_APP1 and data.startswith(EXIF_MAGIC, begin):
                orientation = exif_orientation(data[begin + len(EXIF_MAGIC) : end])
            elif marker == JPEG_SOS and frame is not None:
                follow = follow or data[begin] < frame[3]
            start = end
    except ValueError as error:  # no further marker
        raise cut_short(source) from error
    if frame is None:
        raise UnreadableScan(f"{source}: the JPEG has no frame header.", remedy=COPY_AGAIN)
    precision, height, width, components = frame
    if precision != 8 or components not in (1, 3, 4):
        raise UnsupportedScan(f"{source}: a JPEG with {components} components of {precision} bits.", remedy=AS_PNG)
    return Header(
        width=width, height=height, channels=components, orientation=orientation, body=start, scans_follow=follow
    )


def _verify_jpeg(data: bytes, header: Header, source: str) -> Header:
    # The quick way covers nearly all files: nothing, or zero padding, after the end marker. Inside coded data 0xFF is
    # always followed by 0x00 or a restart marker, so an end marker behind the first scan header is a real one.
    tail = data if data.endswith(JPEG_EOI) else data.rstrip(b"\0")
    whole = tail.endswith(JPEG_EOI) and len(tail) - 2 >= header.body
    if not whole and data.find(JPEG_EOI, header.body) < 0:
        raise cut_short(source)
    if header.scans_follow and data.count(b"\xff\xda", header.body) > JPEG_MAX_SCANS:
        raise UnsupportedScan(f"{source}: a JPEG of more than {JPEG_MAX_SCANS} scans.", remedy=AS_PNG)
    return header


def _parse_bmp(data: bytes, source: str) -> Header:
    body, size = struct.unpack_from("<II", data, 10)
    if size not in BMP_HEADERS:
        raise UnsupportedScan(f"{source}: a BMP of a kind that is not read (header of {size} bytes).", remedy=AS_PNG)
    width, height, planes, bits, coding = struct.unpack_from("<iiHHI", data, 18)
    if planes != 1 or bits not in BMP_BITS or coding > BMP_BITFIELDS:
        raise UnsupportedScan(f"{source}: a BMP of {bits} bits with coding {coding}.", remedy=AS_PNG)
    alpha = False
    if coding == BMP_BITFIELDS and bits == 32:
        masks = struct.unpack_from("<III", data, 54)
        # OpenCV honours swapped masks only where the header itself holds them (version 4 and up).
        if masks != BMP_RGB_MASKS and not (masks == BMP_RGB_MASKS[::-1] and size >= BMP_V4):
            raise UnsupportedScan(f"{source}: a BMP with unusual colour masks.", remedy=AS_PNG)
        alpha = size >= BMP_V4 and struct.unpack_from("<I", data, 66)[0] == 0xFF000000
    return Header(width=width, height=abs(height), channels=4 if bits == 32 else 3, alpha=alpha, body=body)


def _verify_bmp(data: bytes, header: Header, source: str) -> Header:
    bits, coding, size = struct.unpack_from("<HII", data, 28)
    if coding in (BMP_RGB, BMP_BITFIELDS):
        size = (header.width * bits + 31) // 32 * 4 * header.height
    if header.body + size > len(data):
        raise cut_short(source)
    return header


_PARSERS: dict[str, Callable[[bytes, str], Header]] = {
    "png": _parse_png,
    "jpeg": _parse_jpeg,
    "bmp": _parse_bmp,
}
_VERIFIERS: dict[str, Callable[[bytes, Header, str], Header]] = {
    "png": _verify_png,
    "jpeg": _verify_jpeg,
    "bmp": _verify_bmp,
}
