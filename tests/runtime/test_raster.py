"""Image files: what is stored is what comes out, and what is no image is called by its name."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgebrain.errors import ScanError, UnreadableScan, UnsupportedScan
from edgebrain.readers import SUFFIXES, from_array, read, read_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from edgebrain.types import Scan

    Bytes = Callable[..., bytes]
    Pixels = npt.NDArray[Any]
    Encode = Callable[[str, Pixels], bytes]
    ReadOne = Callable[[bytes], Scan]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=st.sampled_from([(".png", "uint8"), (".png", "uint16"), (".bmp", "uint8")]),
    channels=st.sampled_from([1, 3, 4]),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 9),
)
def test_path_bytes_and_array_give_the_same_bits(
    tmp_path: Path,
    encode: Encode,
    read_one: ReadOne,
    *,
    case: tuple[str, str],
    channels: int,
    size: tuple[int, int],
    seed: int,
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
    by_bytes, by_array = read_one(path.read_bytes()), from_array(pixels)
    assert by_path.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(by_path.pixels, by_array.pixels)
    np.testing.assert_array_equal(by_bytes.pixels, by_array.pixels)
    assert by_path.color_fraction == by_bytes.color_fraction == by_array.color_fraction
    assert by_path.warnings == by_array.warnings


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), dtype=st.sampled_from(["uint8", "uint16", "float32"]), channels=st.sampled_from([(), (3,)]))
def test_tiff_path_bytes_and_array_give_the_same_bits(
    tmp_path: Path, tiff_bytes: Bytes, read_one: ReadOne, *, data: st.DataObject, dtype: str, channels: tuple[int, ...]
) -> None:
    size = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    pixels = data.draw(hnp.arrays(dtype, size + channels))  # floats: infinities and NaN as well
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_bytes(pixels))
    (by_path,) = read_path(path)
    by_bytes, by_array = read_one(path.read_bytes()), from_array(pixels)
    for scan in (by_path, by_bytes):
        assert scan.pixels.dtype == dtype
        np.testing.assert_array_equal(scan.pixels, by_array.pixels)
    if not channels:
        np.testing.assert_array_equal(by_array.pixels, pixels)


def test_a_scan_says_where_it_comes_from(tmp_path: Path, head: npt.NDArray[np.uint8], encode: Encode) -> None:
    data = encode(".png", head)
    (tmp_path / "x").mkdir()
    (tmp_path / "a.png").write_bytes(data)
    given = f"{tmp_path}/x/../a.png"
    (scan,) = read_path(given)
    assert scan.source == given
    assert scan.sha256 == hashlib.sha256(data).hexdigest()
    assert (scan.format, scan.frame, scan.frames, scan.spacing, scan.warnings) == ("png", 0, 1, None, ())


def test_the_name_decides_nothing(tmp_path: Path, head: npt.NDArray[np.uint8], encode: Encode) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(".png", head))
    (scan,) = read_path(tmp_path / "a.jpg")
    assert scan.format == "png"
    assert {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"} <= SUFFIXES
    assert all(suffix == suffix.lower() for suffix in SUFFIXES)


def test_blank_and_tiny_images_are_handed_on(encode: Encode, read_one: ReadOne) -> None:
    for shape in ((1, 1), (1, 500), (64, 64)):
        assert read_one(encode(".png", np.zeros(shape, np.uint8))).pixels.shape == shape


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
