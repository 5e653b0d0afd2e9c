"""Describe one plane of a vetted TIFF page in a fresh directory, so plain that every OpenCV decodes it alike."""

# ruff: noqa: PLR2004 - the numbers in comparisons are those of the format specifications
from __future__ import annotations

import struct
from typing import Any

import numpy as np

from edgebrain.readers.tiff import CLASSIC, FLOAT, GREY, GREY_INVERTED, PASSED_ON, SIZES, UINT, Directory, Page, Tag

SHORT, LONG = 3, 4
INLINE = 4  # values of so many bytes stand in the entry itself
LAST_CLASSIC = 12  # types behind it are BigTIFF's
ASSOCIATED = 1  # libtiff multiplies any other alpha into the colours

Entry = tuple[int, int, bytes]


def carrier(page: Page) -> np.dtype[Any]:
    """The type that the samples are declared as: of the same size, and known to every OpenCV."""
    if page.dtype.kind == "f":
        return page.dtype
    return np.dtype({1: "u1", 2: "u2", 4: "f4", 8: "f8"}[page.dtype.itemsize])


def widened(page: Page) -> int:
    """Times the width is declared: 2 for interleaved grey and alpha, which is read as plain grey."""
    return 2 if page.layout.samples == 2 and page.planes == 1 else 1


def point_to(data: bytearray, size: int, page: Page, plane: int) -> None:
    """Make a TIFF in memory consist of nothing but one plane.

    Args:
        data: A copy of the file. Its first 8 bytes and all behind ``size`` are overwritten.
        size: Length of the file itself.
        page: From ``tiff.parse_pages``.
        plane: 0 to ``page.planes`` - 1.
    """
    order = page.directory.order
    entries = _entries(page, plane)
    del data[size:]
    data.extend(b"\0" * (size % 2))
    start = len(data)
    table = bytearray(struct.pack(order + "H", len(entries)))
    values = bytearray()
    base = start + 2 + 12 * len(entries) + 4
    for tag, (kind, count, raw) in sorted(entries.items()):
        table += struct.pack(order + "HHI", tag, kind, count)
        if len(raw) <= INLINE:
            table += raw.ljust(INLINE, b"\0")
        else:
            table += struct.pack(order + "I", base + len(values))
            values += raw + b"\0" * (len(raw) % 2)
    data.extend(table + struct.pack(order + "I", 0) + values)
    data[:8] = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", CLASSIC, start)


def _entries(page: Page, plane: int) -> dict[int, Entry]:
    def entry(values: list[int], kind: int = LONG) -> Entry:
        code = {SHORT: "H", LONG: "I"}[kind]
        return kind, len(values), struct.pack(f"{page.directory.order}{len(values)}{code}", *values)

    directory, layout = page.directory, page.layout
    grey = layout.photometric in (GREY, GREY_INVERTED) or page.planes > 1
    samples = 1 if grey else layout.samples
    part = slice(plane * page.pieces, (plane + 1) * page.pieces)
    offsets, counts = (values[part].tolist() for values in page.segments())
    copies = {int(tag): _copied(directory, tag) for tag in PASSED_ON}
    entries = {tag: copy for tag, copy in copies.items() if copy is not None}
    entries |= {
        Tag.WIDTH: entry([page.header.width * widened(page)]),
        Tag.HEIGHT: entry([page.header.height]),
        Tag.BITS: entry([layout.bits] * samples, SHORT),
        Tag.COMPRESSION: entry([layout.coding], SHORT),
        Tag.PHOTOMETRIC: entry([GREY if grey else layout.photometric], SHORT),
        Tag.SAMPLES: entry([samples], SHORT),
        Tag.PLANAR: entry([1], SHORT),
        Tag.SAMPLE_FORMAT: entry([FLOAT if carrier(page).kind == "f" else UINT] * samples, SHORT),
        Tag.TILE_OFFSETS if page.tiled else Tag.STRIP_OFFSETS: entry(offsets),
        Tag.TILE_COUNTS if page.tiled else Tag.STRIP_COUNTS: entry(counts),
    }
    if samples == 4:
        entries[Tag.EXTRA_SAMPLES] = entry([ASSOCIATED], SHORT)
    if page.tiled:
        entries[Tag.TILE_WIDTH] = entry([directory.one(Tag.TILE_WIDTH) * widened(page)])
        entries[Tag.TILE_LENGTH] = entry([directory.one(Tag.TILE_LENGTH)])
    else:
        rows = directory.one(Tag.ROWS_PER_STRIP, page.header.height)
        entries[Tag.ROWS_PER_STRIP] = entry([max(1, min(rows, page.header.height))])
    return entries


def _copied(directory: Directory, tag: int) -> Entry | None:
    field = directory.fields.get(tag)
    if field is None or field.kind not in SIZES or field.kind > LAST_CLASSIC:
        return None
    size = field.number * SIZES[field.kind]
    if field.at + size > len(directory.data):
        return None
    return field.kind, field.number, directory.data[field.at : field.at + size]
