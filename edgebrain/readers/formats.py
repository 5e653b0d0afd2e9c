"""Which formats there are, how their bytes are told apart and who reads them: a table, one entry a format."""

from __future__ import annotations

import codecs
import re
import zlib
from dataclasses import dataclass

from edgebrain.errors import ScanError, UnreadableScan, UnsupportedScan

RASTER = "edgebrain.readers.raster:frames"
LATER = "This version reads PNG, JPEG, TIFF and BMP; export the slices as PNG or TIFF."
TO_PNG = "Convert it to PNG."
AN_IMAGE = "Give a PNG, JPEG, TIFF or BMP image."

SUFFIXES: frozenset[str] = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".dib"})
"""Lower-case file name endings that a folder scan picks up. What a file is, its content decides."""


@dataclass(frozen=True)
class Format:
    """One kind of content.

    Attributes:
        title: What it is, with its article, for messages.
        reader: ``module:function`` of the reader; empty where there is none.
        error: The error where there is no reader.
        remedy: What to do where there is no reader.
    """

    title: str
    reader: str = ""
    error: type[ScanError] = UnreadableScan
    remedy: str = AN_IMAGE


def _image(title: str, remedy: str = TO_PNG) -> Format:
    return Format(title, error=UnsupportedScan, remedy=remedy)


FORMATS: dict[str, Format] = {
    "png": Format("a PNG image", RASTER),
    "jpeg": Format("a JPEG image", RASTER),
    "tiff": Format("a TIFF image", RASTER),
    "bmp": Format("a BMP image", RASTER),
    "dicom": _image("a DICOM file, which this version does not read yet", LATER),
    "nifti": _image("a NIfTI volume, which this version does not read yet", LATER),
    "gif": _image("a GIF image"),
    "webp": _image("a WebP image"),
    "jpeg2000": _image("a JPEG 2000 image"),
    "jpegxl": _image("a JPEG XL image"),
    "heif": _image("a HEIF or AVIF image"),
    "openexr": _image("an OpenEXR image"),
    "psd": _image("a Photoshop document"),
    "nrrd": _image("an NRRD volume", LATER),
    "numpy": _image("a NumPy array file", "Load it and classify the array from Python."),
    "hdf5": _image("an HDF5 file", LATER),
    "matlab": _image("a MATLAB file", LATER),
    "gzip": Format("gzip-compressed data", remedy="Unpack it first."),
    "zip": Format("a zip archive (or an Office document)", remedy="Unpack it first."),
    "pdf": Format("a PDF document"),
    "html": Format("an HTML page", remedy="The download probably failed; fetch the image again."),
    "xml": Format("an XML or SVG text"),
    "text": Format("plain text"),
}

# Content at an offset -> format; the first that fits. What is two bytes long gets a second look in `sniff`.
MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"II+\0", "tiff"),
    (0, b"MM\0+", "tiff"),
    (128, b"DICM", "dicom"),
    (344, b"n+1\0", "nifti"),
    (344, b"ni1\0", "nifti"),
    (4, b"n+2\0", "nifti"),
    (4, b"ni2\0", "nifti"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (8, b"WEBP", "webp"),
    (0, b"\0\0\0\x0cjP  ", "jpeg2000"),
    (0, b"\xff\x4f\xff\x51", "jpeg2000"),
    (0, b"\xff\x0a", "jpegxl"),
    (0, b"\0\0\0\x0cJXL ", "jpegxl"),
    (4, b"ftyphei", "heif"),
    (4, b"ftypmif1", "heif"),
    (4, b"ftypavif", "heif"),
    (0, b"\x76\x2f\x31\x01", "openexr"),
    (0, b"8BPS", "psd"),
    (0, b"NRRD", "nrrd"),
    (0, b"\x93NUMPY", "numpy"),
    (0, b"\x89HDF\r\n\x1a\n", "hdf5"),
    (0, b"MATLAB 5.0", "matlab"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"%PDF-", "pdf"),
)
BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
HTML = re.compile(rb"\s*<(!doctype\s+html|html|head|body)", re.IGNORECASE)
XML = re.compile(rb"\s*<(\?xml|svg|!--)", re.IGNORECASE)
TEXT_SAMPLE = 512


def sniff(data: bytes) -> str | None:
    """Tell from its content what a file is.

    Args:
        data: The file, or its first kilobytes.

    Returns:
        A key of ``FORMATS``, ``png`` for instance; None where the content is not known.
    """
    for offset, magic, form in MAGIC:
        if data.startswith(magic, offset):
            return form
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in BMP_HEADER_SIZES:
        return "bmp"
    if data.startswith(b"\x1f\x8b"):
        return _inside_gzip(data)
    head = data[:TEXT_SAMPLE].removeprefix(b"\xef\xbb\xbf")
    if HTML.match(head):
        return "html"
    if XML.match(head):
        return "xml"
    return "text" if _is_text(head) else None


def _inside_gzip(data: bytes) -> str:
    try:
        head = zlib.decompressobj(wbits=31).decompress(data[:4096], 352)
    except zlib.error:
        return "gzip"
    return "nifti" if sniff(head) == "nifti" else "gzip"


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the sample may end inside a character
    except UnicodeDecodeError:
        return False
    return bool(text) and all(c.isprintable() or c in "\t\r\n\f" for c in text)
