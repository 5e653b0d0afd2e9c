"""Samples of every type, in files and in arrays, and the grey that colours become."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgebrain.errors import UnsupportedScan
from edgebrain.readers import from_array
from edgebrain.readers.grey import color_fraction, to_grey

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from edgebrain.types import Scan

    Bytes = Callable[..., bytes]
    Pixels = npt.NDArray[Any]
    Noise = Callable[..., Pixels]
    ReadOne = Callable[[bytes], Scan]

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")


def luma(rgb: Pixels) -> Pixels:
    weighted: Pixels = rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return weighted


# --- TIFF -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("coding", [1, 8])
def test_tiff_grey_of_every_sample_type(
    tiff_bytes: Bytes, noise: Noise, read_one: ReadOne, dtype: str, order: str, *, big: bool, coding: int
) -> None:
    pixels = noise(dtype, 9, 7)
    scan = read_one(tiff_bytes(pixels, order=order, big=big, coding=coding))
    assert scan.pixels.dtype == dtype
    np.testing.assert_array_equal(scan.pixels, pixels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_white_is_zero_is_turned_to_bright_is_bright(
    tiff_bytes: Bytes, noise: Noise, read_one: ReadOne, dtype: str
) -> None:
    pixels = noise(dtype, 9, 7)
    scan = read_one(tiff_bytes(pixels, tags={262: [0]}))
    np.testing.assert_array_equal(scan.pixels, -pixels if dtype.startswith("f") else ~pixels)
    assert scan.pixels.flat[int(pixels.argmin())] == scan.pixels.max()


# --- arrays ---------------------------------------------------------------------------------------------------------


def test_arrays_of_any_layout_give_the_same_scan(noise: Noise) -> None:
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


# --- grey -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*DTYPES, "float16"])
def test_equal_channels_give_exactly_their_value(noise: Noise, dtype: str) -> None:
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
