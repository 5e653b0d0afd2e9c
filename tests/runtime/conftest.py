"""Writers of image files from bytes alone, so that what is read back was not written by what reads it."""

from __future__ import annotations

import struct
import threading
import weakref
import zlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from edgebrain.ready import ReadyScan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy.typing as npt

    from edgebrain import Classifier

KINDS = {"u": 1, "i": 2, "f": 3}


def write_png(ihdr: tuple[int, ...], rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG of (width, height, depth, colour type), filtered rows and chunks between header and data."""
    header = struct.pack(">IIBBBBB", *ihdr, 0, 0, 0)
    chunks = ((b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(p)) + k + p + struct.pack(">I", zlib.crc32(k + p)) for k, p in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def write_tiff(
    *pages: npt.NDArray[Any],
    order: Literal["<", ">"] = "<",
    big: bool = False,
    tags: Mapping[int, list[int]] | None = None,
    separate: bool = False,
    coding: int = 1,
) -> bytes:
    """A TIFF of one strip a plane; tags are LONGs put in, or in the place of, those that the pages need."""
    offset, number, head = ("Q", "Q", 16) if big else ("I", "H", 8)
    body = bytearray(head)
    mark = b"II" if order == "<" else b"MM"
    body[:8] = mark + (struct.pack(order + "HHH", 43, 8, 0) if big else struct.pack(order + "HI", 42, 0))
    link = 8 if big else 4
    for page in pages:
        pixels = page if page.ndim == 3 else page[..., None]
        samples = pixels.shape[2]
        stored = pixels.astype(pixels.dtype.newbyteorder(order))
        strips = [stored[..., i].tobytes() for i in range(samples)] if separate else [stored.tobytes()]
        strips = [zlib.compress(s) if coding == 8 else s for s in strips]
        starts = []
        for strip in strips:
            starts.append(len(body))
            body += strip + b"\0" * (len(strip) % 2)
        entries = {
            256: [pixels.shape[1]],
            257: [pixels.shape[0]],
            258: [pixels.dtype.itemsize * 8] * samples,
            259: [coding],
            262: [2 if samples > 2 else 1],
            273: starts,
            277: [samples],
            278: [pixels.shape[0]],
            279: [len(s) for s in strips],
            284: [2 if separate else 1],
            339: [KINDS[pixels.dtype.kind]] * samples,
            **(tags or {}),
        }
        places = {}
        for tag, values in entries.items():
            raw = struct.pack(f"{order}{len(values)}I", *values)
            if len(raw) > struct.calcsize(offset):
                places[tag] = struct.pack(order + offset, len(body))
                body += raw
            else:
                places[tag] = raw.ljust(struct.calcsize(offset), b"\0")
        body[link : link + struct.calcsize(offset)] = struct.pack(order + offset, len(body))
        body += struct.pack(order + number, len(entries))
        for tag in sorted(entries):
            body += struct.pack(f"{order}HH{offset}", tag, 4, len(entries[tag])) + places[tag]
        link = len(body)
        body += bytes(struct.calcsize(offset))
    return bytes(body)


def write_bmp(
    size: tuple[int, int],
    bits: int,
    rows: bytes,
    *,
    coding: int = 0,
    header: int = 40,
    masks: tuple[int, ...] = (),
    palette: bytes = b"",
) -> bytes:
    """A BMP of (width, height), with rows as they are stored."""
    info = struct.pack("<IiiHHIIiiII", header, *size, 1, bits, coding, len(rows), 2835, 2835, 0, 0)
    info += struct.pack(f"<{len(masks)}I", *masks)
    info = info.ljust(header, b"\0") + palette
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(rows), 0, 0, 14 + len(info)) + info + rows


def write_jpeg_with_exif(jpeg: bytes, orientation: int, order: str = "<") -> bytes:
    """The JPEG with an Exif block that holds nothing but an orientation."""
    mark = b"II" if order == "<" else b"MM"
    block = mark + struct.pack(order + "HIHHHIHHI", 42, 8, 1, 274, 3, 1, orientation, 0, 0)
    payload = b"Exif\0\0" + block
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + jpeg[2:]


def draw_head(height: int = 48, width: int = 40) -> npt.NDArray[np.uint8]:
    """A bright ellipse with some texture on black; neither axis is symmetric."""
    rows, columns = np.mgrid[:height, :width]
    inside = ((rows - height / 2) / height * 2.3) ** 2 + ((columns - width / 2) / width * 2.5) ** 2 < 1
    return np.where(inside, 60 + rows * 2 + columns, 3).astype(np.uint8)


@pytest.fixture(scope="session")
def png_bytes() -> Callable[..., bytes]:
    return write_png


@pytest.fixture(scope="session")
def tiff_bytes() -> Callable[..., bytes]:
    return write_tiff


@pytest.fixture(scope="session")
def bmp_bytes() -> Callable[..., bytes]:
    return write_bmp


@pytest.fixture(scope="session")
def exif_jpeg() -> Callable[..., bytes]:
    return write_jpeg_with_exif


@pytest.fixture(scope="session")
def head() -> npt.NDArray[np.uint8]:
    return draw_head()


@pytest.fixture
def scans_alive(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Counts the scans that are read and prepared, and still held by anyone.

    Weak references, because asking the garbage collector for every object there is disturbs threads that are just
    building a tuple.
    """
    made: list[weakref.ref[ReadyScan]] = []
    build = ReadyScan.__init__

    def build_and_watch(self: ReadyScan, *args: Any, **fields: Any) -> None:
        build(self, *args, **fields)
        made.append(weakref.ref(self))

    monkeypatch.setattr(ReadyScan, "__init__", build_and_watch)
    return lambda: sum(scan() is not None for scan in made)


@pytest.fixture
def fake(make_classifier: Callable[..., Classifier]) -> Classifier:
    """A classifier with an engine that is not a real one."""
    return make_classifier()


@pytest.fixture
def reading_threads() -> Callable[[], list[str]]:
    """Names the threads of runs that are there now."""
    return lambda: [t.name for t in threading.enumerate() if t.name.startswith("edgebrain-read")]


@pytest.fixture
def _no_reader_is_left(reading_threads: Callable[[], list[str]]) -> Iterator[None]:
    yield
    assert reading_threads() == []
