"""Files that are cut, changed or lie, decoders that fail, and many files at once."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebrain.errors import ScanError, ScanTooLarge, UnreadableScan
from edgebrain.readers import Limits, read, sniff

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from edgebrain.types import Scan

    Bytes = Callable[..., bytes]
    Pixels = npt.NDArray[Any]
    Noise = Callable[..., Pixels]
    ReadOne = Callable[[bytes], Scan]


def valid_files() -> dict[str, bytes]:
    grey = (np.add.outer(np.arange(24), np.arange(31)) * 4).astype(np.uint8)
    deep = grey.astype(np.uint16) * 200
    colour = np.dstack([grey, grey[::-1], grey])
    images: dict[str, Pixels] = {
        f"{s} {n}": p for s in (".png", ".bmp", ".tiff") for n, p in (("g", grey), ("c", colour))
    }
    images |= {".jpg g": grey, ".jpg c": colour, ".png deep": deep, ".tiff deep": deep}
    return {name: cv2.imencode(name.split()[0], pixels)[1].tobytes() for name, pixels in images.items()}


FILES = valid_files()


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_refused(read_one: ReadOne, name: str) -> None:
    whole = FILES[name]
    pixels = read_one(whole).pixels
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
def test_bytes_behind_the_image_are_tolerated(read_one: ReadOne, name: str, tail: bytes) -> None:
    np.testing.assert_array_equal(read_one(FILES[name] + tail).pixels, read_one(FILES[name]).pixels)


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


def test_damaged_compressed_data_is_refused(tiff_bytes: Bytes, noise: Noise, read_one: ReadOne) -> None:
    data = tiff_bytes(noise("uint16", 50, 50), coding=8)
    broken = data[:2000] + bytes(b ^ 0x55 for b in data[2000:2100]) + data[2100:]
    with pytest.raises(UnreadableScan, match="damaged"):
        read_one(broken)


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
    monkeypatch: pytest.MonkeyPatch, read_one: ReadOne, decode: Callable[..., Any], error: type[ScanError], words: str
) -> None:
    monkeypatch.setattr(cv2, "imdecode", decode)
    with pytest.raises(error, match=words) as caught:
        read_one(FILES[".tiff g"])
    assert type(caught.value) is error


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


def test_the_package_loads_without_opencv_and_decoding_keeps_stderr_quiet(
    tmp_path: Path, tiff_bytes: Bytes, noise: Noise
) -> None:
    path = tmp_path / "a.tif"
    data = tiff_bytes(noise("uint16", 50, 50), coding=8)
    path.write_bytes(data[:2000] + bytes(100) + data[2100:])
    env = {k: v for k, v in os.environ.items() if k != "OPENCV_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", QUIET, path], capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "refused\n"
    if int(cv2.__version__.split(".")[0]) >= 5:  # OpenCV 4 writes some lines past its own log
        assert done.stderr == ""


def test_the_log_level_of_opencv_is_put_back(read_one: ReadOne) -> None:
    # OpenCV 5 moved it; what types it has depends on the version as well.
    level: Callable[[], int] = getattr(cv2, "getLogLevel", None) or cv2.utils.logging.getLogLevel
    before = level()
    bad = zlib.compress(b"x")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: _try(read_one, FILES[".png g"] if i % 2 else b"II*\0" + bad), range(200)))
    assert level() == before


def _try(read_one: ReadOne, data: bytes) -> None:
    try:
        read_one(data)
    except ScanError:
        assert sniff(data) == "tiff"


def test_threads_get_the_same_pixels(read_one: ReadOne) -> None:
    expected = {name: read_one(data).pixels for name, data in FILES.items()}
    with ThreadPoolExecutor(4) as pool:
        for name, pixels in pool.map(lambda n: (n, read_one(FILES[n]).pixels), list(FILES) * 20):
            np.testing.assert_array_equal(pixels, expected[name])
