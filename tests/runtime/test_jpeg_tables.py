"""Tables that leave no way to store colour: true only of files that no decoder gives colour for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebrain.readers import read
from edgebrain.readers.jpeg_tables import colors_cannot_occur

Pixels = npt.NDArray[np.uint8]
SYMBOLS = 17  # in a segment with one table: its name, and how many codes there are of each length, come before
DHT, SOF, SOS = b"\xff\xc4", b"\xff\xc0", b"\xff\xda"
FEWER_CHROMA, AS_MUCH = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444


def jpeg(pixels: Pixels, *settings_of_it: int, quality: int = 90) -> bytes:
    """A JPEG of [H, W, 3] with tables made for it."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1, *settings_of_it]
    ok, data = cv2.imencode(".jpg", pixels, options)
    assert ok
    return bytes(data)


def in_color(data: bytes) -> Pixels | None:
    """What OpenCV makes of a file, [H, W, 3]; None where it gives up."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if found is None else np.asarray(found, np.uint8)


def is_grey(pixels: Pixels) -> bool:
    return bool((pixels == pixels[..., :1]).all())


@pytest.fixture
def grey_in_color(head: Pixels) -> bytes:
    return jpeg(np.dstack([head] * 3))


@pytest.mark.parametrize("sampling", [FEWER_CHROMA, AS_MUCH])
def test_a_grey_picture_with_tables_of_its_own_is_known_without_decoding(head: Pixels, sampling: int) -> None:
    assert colors_cannot_occur(jpeg(np.dstack([head] * 3), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling))


def test_it_is_decoded_once(grey_in_color: bytes, head: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = in_color(grey_in_color)
    assert expected is not None
    decode, shapes = cv2.imdecode, []

    def noting(encoded: Pixels, how: int) -> Any:
        decoded = decode(encoded, how)
        assert decoded is not None
        shapes.append(decoded.shape)
        return decoded

    monkeypatch.setattr(cv2, "imdecode", noting)
    (scan,) = read(grey_in_color, "x")
    assert shapes == [head.shape]
    assert scan.color_fraction == 0
    np.testing.assert_array_equal(scan.pixels, expected[..., 0])


def test_one_coloured_pixel_is_enough_to_allow_colours(head: Pixels) -> None:
    drawn = np.dstack([head] * 3)
    drawn[5, 5] = (0, 0, 255)
    assert not colors_cannot_occur(jpeg(drawn))


def change(data: bytes, marker: bytes, at: int, value: int, *, last: bool = False) -> bytes:
    """A byte of a segment's payload changed, of the first of that kind or of the last."""
    place = (data.rindex(marker, 0, data.index(SOS) + 2) if last else data.index(marker)) + 4 + at
    return data[:place] + bytes([value]) + data[place + 1 :]


def without(data: bytes, marker: bytes) -> bytes:
    """A file without its last segment of a kind."""
    start = data.rindex(marker, 0, data.index(SOS))
    return data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]


ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"


@pytest.mark.parametrize(
    "altered",
    [
        pytest.param(lambda data: data[:2] + ADOBE + data[2:], id="Adobe says that components are red, green and blue"),
        pytest.param(lambda data: change(change(data, SOF, 9, 0), SOS, 3, 0), id="components of other names"),
        pytest.param(lambda data: change(data, SOS, 0, 1), id="one component in the first scan"),
        pytest.param(lambda data: data.replace(SOF, b"\xff\xc2"), id="a progressive frame"),
        pytest.param(lambda data: change(data, SOS, 4, 0), id="one colour with the tables of luma"),
        pytest.param(lambda data: change(data, SOS, 6, 0), id="the other colour with the tables of luma"),
        pytest.param(lambda data: change(data, SOS, 6, 1), id="differences by the table of luma"),
        pytest.param(lambda data: change(data, SOS, 6, 16), id="coefficients by the table of luma"),
        pytest.param(lambda data: change(data, DHT, SYMBOLS, 1, last=True), id="a symbol for a coefficient of one bit"),
        pytest.param(lambda data: change(data, DHT, SYMBOLS, 8, last=True), id="a symbol for one of eight bits"),
        pytest.param(lambda data: without(data, DHT), id="a table that is not in the file"),
        pytest.param(lambda data: change(data, DHT, 1, 255), id="a table that is cut short"),
        pytest.param(lambda data: data[: data.index(DHT) + 9], id="a file that is cut short"),
        pytest.param(lambda data: data[: data.index(SOS) + 4], id="a file that ends with its header"),
        pytest.param(lambda _: b"\xff\xd8", id="nothing"),
    ],
)
def test_where_tables_do_not_tell_the_answer_is_no(grey_in_color: bytes, altered: Callable[[bytes], bytes]) -> None:
    assert colors_cannot_occur(grey_in_color)
    assert not colors_cannot_occur(altered(grey_in_color))


@pytest.mark.parametrize("options", [(cv2.IMWRITE_JPEG_OPTIMIZE, 0), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
def test_usual_tables_and_progressive_files_do_not_tell(head: Pixels, options: tuple[int, int]) -> None:
    assert not colors_cannot_occur(jpeg(np.dstack([head] * 3), *options))


@settings(max_examples=200)
@given(
    changes=st.lists(st.tuples(st.integers(2, 5_000), st.integers(0, 255)), max_size=4),
    seed=st.integers(0, 3),
    sampling=st.sampled_from([FEWER_CHROMA, AS_MUCH]),
)
def test_whatever_is_changed_a_file_that_is_said_to_be_grey_is_grey(
    changes: list[tuple[int, int]], seed: int, sampling: int
) -> None:
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 7), np.uint8)
    pixels = np.dstack([np.kron(blocks, np.ones((8, 8), np.uint8))] * 3)
    data = bytearray(jpeg(pixels, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling))
    for place, value in changes:
        data[2 + place % (len(data) - 2)] = value
    decoded = in_color(bytes(data))
    if colors_cannot_occur(bytes(data)) and decoded is not None:
        assert is_grey(decoded)
