"""TIFF directories: parse every page, refuse what cannot be decoded faithfully, and hand the decoder plain pages only.

OpenCV drops, premultiplies or misreads some layouts without a word (separate planes, grey with alpha, white-is-zero,
integers of 32 bits in OpenCV 4). So each plane of a page gets a directory of its own (``tiff_plane.py``) of vetted tags
alone: upright, black-is-zero, one of the four sample types that every OpenCV decodes; the rest is done in numpy.

Sources: TIFF Revision 6.0 (Adobe, 1992); Photoshop TIFF Technical Notes (deflate); LibTIFF's BigTIFF proposal.
"""

# ruff: noqa: PLR2004 - the numbers in comparisons are those of the format specifications
from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgebrain.errors import ScanTooLarge, UnreadableScan, UnsupportedScan
from edgebrain.readers.headers import COPY_AGAIN, Header, Limits, check_limits, cut_short

if TYPE_CHECKING:
    import numpy.typing as npt

REMEDY = "Save it as an 8- or 16-bit PNG, or as an uncompressed grey or RGB TIFF, and try again."
MAX_ENTRIES = 1024  # a directory has a few dozen; bounds the time a hostile chain takes
CLASSIC, BIG = 42, 43
CLASSIC_REACH = 2**32 - 2**24  # what a rewritten directory can point to
GREY_INVERTED, GREY, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
UINT, INT, FLOAT, VOID = 1, 2, 3, 4
UNASSOCIATED = 2
SEPARATE = 2
NONE, FAX, JPEG = 1, frozenset({2, 3, 4}), 7
CODINGS = frozenset({NONE, JPEG, *FAX, 5, 8, 32946, 32773})  # and LZW, deflate twice, PackBits
PLAIN, DIFFERENCE, FLOAT_DIFFERENCE = 1, 2, 3
INTEGERS = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}  # BYTE, SHORT, LONG, LONG8
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class Tag(IntEnum):
    """The tags that decide about pixels."""

    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_COUNTS = 279
    PLANAR = 284
    PREDICTOR = 317
    COLORMAP = 320
    TILE_WIDTH = 322
    TILE_LENGTH = 323
    TILE_OFFSETS = 324
    TILE_COUNTS = 325
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339


# Handed to the decoder as they are: bit order, fax options, predictor, colour map, JPEG tables, YCbCr layout.
PASSED_ON = (266, 292, 293, Tag.PREDICTOR, Tag.COLORMAP, 347, 529, 530, 531, 532)


class Field(NamedTuple):
    """One directory entry: type, number of values and where they stand in the file."""

    kind: int
    number: int
    at: int


@dataclass(frozen=True)
class Directory:
    """What is said about one page: the file, its byte order (``<`` or ``>``) and the entries."""

    data: bytes
    order: str
    fields: dict[int, Field]

    def values(self, tag: int, default: int | None = None) -> npt.NDArray[np.uint64]:
        """The whole numbers of a tag; the default if it has none; IndexError if there is no default either."""
        field = self.fields.get(tag)
        if field is None or field.kind not in INTEGERS or field.number == 0:
            if default is None:
                raise IndexError(tag)
            return np.array([default], np.uint64)
        if field.at + field.number * SIZES[field.kind] > len(self.data):
            raise IndexError(tag)
        return np.frombuffer(self.data, self.order + INTEGERS[field.kind], field.number, field.at).astype(np.uint64)

    def one(self, tag: int, default: int | None = None) -> int:
        """The first number of a tag."""
        return int(self.values(tag, default)[0])

    def differs(self, tag: int) -> bool:
        """Whether a tag that stands for all samples gives them different values."""
        values = self.values(tag, 0)
        return bool((values != values[0]).any())


class Layout(NamedTuple):
    """How the samples of a page are stored; ``dtype`` is uint8 for less than 8 bits, None for what is not read."""

    photometric: int
    coding: int
    samples: int
    bits: int
    dtype: np.dtype[Any] | None
    predictor: int
    planar: bool


@dataclass(frozen=True)
class Page:
    """One vetted page.

    Attributes:
        header: Size, orientation and alpha.
        directory: All that the file says about it.
        layout: How its samples are stored.
        dtype: Of the samples.
        pieces: Strips or tiles a plane.
    """

    header: Header
    directory: Directory
    layout: Layout
    dtype: np.dtype[Any]
    pieces: int

    @property
    def planes(self) -> int:
        """Planes that are stored one after the other; 1 where samples are interleaved."""
        return self.layout.samples if self.layout.planar else 1

    @property
    def tiled(self) -> bool:
        """Whether it is stored in tiles, not strips."""
        return Tag.TILE_OFFSETS in self.directory.fields

    def segments(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        """Offsets and lengths of the strips or tiles, plane after plane; not kept, they can be large."""
        number = self.pieces * self.planes
        tags = (Tag.TILE_OFFSETS, Tag.TILE_COUNTS) if self.tiled else (Tag.STRIP_OFFSETS, Tag.STRIP_COUNTS)
        offsets, counts = (self.directory.values(tag)[:number] for tag in tags)
        if min(len(offsets), len(counts)) < number:
            raise IndexError(number)
        return offsets, counts


def parse_pages(data: bytes, limits: Limits, source: str) -> list[Page]:
    """Parse and vet all pages before any is decoded.

    Args:
        data: The file.
        limits: Checked for every page, and for all together.
        source: Name for messages.

    Raises:
        UnreadableScan: A directory or its pixel data is damaged or lies outside the file.
        UnsupportedScan: A page cannot be decoded faithfully.
        ScanTooLarge: A limit is passed.
    """
    try:
        pages = [_page(directory, limits, source) for directory in _chain(data, limits, source)]
    except (struct.error, IndexError) as error:
        raise cut_short(source) from error
    total = sum(page.header.width * page.header.height for page in pages)
    if total > limits.max_total_pixels:
        raise ScanTooLarge(
            f"{source}: its {len(pages)} pages have {total:,} pixels together; the limit is "
            f"{limits.max_total_pixels:,}.",
            remedy="Split it into smaller files.",
        )
    return pages


def _chain(data: bytes, limits: Limits, source: str) -> list[Directory]:
    if len(data) > CLASSIC_REACH:
        raise ScanTooLarge(f"{source}: a TIFF of 4 GiB or more.", remedy="Split it into smaller files.")
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == BIG
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    seen: set[int] = set()
    directories: list[Directory] = []
    while at:
        if at in seen:
            raise UnreadableScan(f"{source}: the TIFF's pages lead in a circle.", remedy=COPY_AGAIN)
        if len(directories) == limits.max_frames:
            raise ScanTooLarge(f"{source}: more than {limits.max_frames} pages.", remedy="Split it into smaller files.")
        seen.add(at)
        fields, at = _fields(data, order, at, big=big)
        directories.append(Directory(data, order, fields))
    if not directories:
        raise UnreadableScan(f"{source}: the TIFF has no page.", remedy=COPY_AGAIN)
    return directories


def _fields(data: bytes, order: str, at: int, *, big: bool) -> tuple[dict[int, Field], int]:
    """Entries of the directory at an offset, and the offset of the next."""
    word, entry, inline = ("Q", struct.Struct(order + "HHQ8x"), 8) if big else ("I", struct.Struct(order + "HHI4x"), 4)
    if at >= len(data):  # may be more than an index can be
        raise IndexError(at)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    start = at + (8 if big else 2)
    if count > MAX_ENTRIES:
        raise IndexError(count)
    fields: dict[int, Field] = {}
    for position in range(start, start + count * entry.size, entry.size):
        tag, kind, number = entry.unpack_from(data, position)
        where = position + entry.size - inline
        if number * SIZES.get(kind, 0) > inline:
            (where,) = struct.unpack_from(order + word, data, where)
        # A tag that nobody needs may point anywhere; one that is needed is checked when its values are read.
        fields.setdefault(tag, Field(kind, number, where))
    (following,) = struct.unpack_from(order + word, data, start + count * entry.size)
    return fields, following


def _page(directory: Directory, limits: Limits, source: str) -> Page:
    layout = _layout(directory)
    reason = _refusal(layout)
    if any(directory.differs(tag) for tag in (Tag.BITS, Tag.SAMPLE_FORMAT)):
        reason = "samples that differ in kind"
    if layout.dtype is None or reason:
        raise UnsupportedScan(f"{source}: a TIFF with {reason}.", remedy=REMEDY)
    orientation = directory.one(Tag.ORIENTATION, 1)
    header = Header(
        width=directory.one(Tag.WIDTH),
        height=directory.one(Tag.HEIGHT),
        channels=4 if layout.bits <= 8 else layout.samples,  # bytes pass through RGBA in the decoder
        sample_bytes=layout.dtype.itemsize,
        alpha=layout.samples in (2, 4) and directory.one(Tag.EXTRA_SAMPLES, 0) == UNASSOCIATED,
        orientation=orientation if 1 <= orientation <= 8 else 1,
    )
    check_limits(header, limits, source)
    across, down = header.width, directory.one(Tag.ROWS_PER_STRIP, header.height)
    if Tag.TILE_OFFSETS in directory.fields:
        across, down = directory.one(Tag.TILE_WIDTH), directory.one(Tag.TILE_LENGTH)
        check_limits(replace(header, width=across, height=down), limits, source)
    pieces = -(-header.width // across) * -(-header.height // max(1, min(down, header.height)))
    page = Page(header, directory, layout, layout.dtype, pieces)
    offsets, counts = page.segments()
    size = len(directory.data)
    inside = max(offsets.max(), counts.max()) <= size and (offsets + counts).max() <= size
    if not inside or int(counts.sum()) < _bytes_wanted(page, across, down):
        raise cut_short(source)
    return page


def _bytes_wanted(page: Page, across: int, down: int) -> int:
    """What the pixels take if they are not compressed; 0 if they are, or share their colours."""
    layout, height = page.layout, page.header.height
    if layout.coding != NONE or layout.photometric == YCBCR:
        return 0
    row = -(-across * layout.samples // page.planes * layout.bits // 8)
    return page.planes * row * (page.pieces * down if page.tiled else height)


def _layout(directory: Directory) -> Layout:
    samples, bits = directory.one(Tag.SAMPLES, 1), directory.one(Tag.BITS, 1)
    kind = directory.one(Tag.SAMPLE_FORMAT, UINT)
    letter = {UINT: "u", VOID: "u", INT: "i", FLOAT: "f"}.get(kind)
    dtype: np.dtype[Any] | None = None
    if letter == "u" and bits in (1, 4):
        dtype = np.dtype(np.uint8)
    elif letter and bits in ((32, 64) if letter == "f" else (8, 16, 32, 64)):
        dtype = np.dtype(f"{letter}{bits // 8}")
    return Layout(
        photometric=directory.one(Tag.PHOTOMETRIC, GREY),
        coding=directory.one(Tag.COMPRESSION, NONE),
        samples=samples,
        bits=bits,
        dtype=dtype,
        predictor=directory.one(Tag.PREDICTOR, PLAIN),
        planar=samples > 1 and directory.one(Tag.PLANAR, 1) == SEPARATE,
    )


def _refusal(layout: Layout) -> str:
    """Why a page cannot be decoded faithfully; empty if it can."""
    photometric, coding, samples, bits, dtype, predictor, planar = layout
    if dtype is None:
        return f"samples of {bits} bits in a format that is not read"
    byte = dtype == np.uint8 and bits == 8
    wanted = {GREY: (1, 2), GREY_INVERTED: (1, 2), RGB: (3, 4), PALETTE: (1,), YCBCR: (3,)}.get(photometric, ())
    predictable = {PLAIN: True, DIFFERENCE: bits >= 8, FLOAT_DIFFERENCE: dtype.kind == "f"}.get(predictor, False)
    # Interleaved grey and alpha is decoded as grey of twice the width: only where coding treats bytes as bytes.
    doubled = samples == 2 and not planar
    tests = (
        (samples not in wanted, f"colour space {photometric} of {samples} samples a pixel"),
        (coding not in CODINGS, f"compression {coding}"),
        (photometric == PALETTE and dtype != np.uint8, f"a palette of {bits} bits"),
        (photometric == YCBCR and (not byte or planar), f"YCbCr colours of {bits} bits"),
        (samples > 1 and bits < 8, f"{samples} samples of {bits} bits"),
        (samples > 1 and dtype in (np.uint64, np.int64), "colours of 64-bit integers"),
        (coding in FAX and bits != 1, "fax compression of grey"),
        (coding == JPEG and not byte, "JPEG compression of anything but bytes"),
        (not predictable, f"predictor {predictor}"),
        (doubled and (coding == JPEG or predictor != PLAIN), "grey and alpha that are predicted together"),
    )
    return next((text for failed, text in tests if failed), "")
