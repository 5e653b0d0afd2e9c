from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgebrain.errors import UnsupportedScan
from edgebrain.head import Box, find_head
from edgebrain.phantom import SAMPLES, PhantomSpec, draw_phantom
from edgebrain.preprocessing import MIN_SIDE, fit, prepare, to_uint8
from edgebrain.types import Image8, InputSpec, Scan

SPEC = InputSpec(width=160, height=160)
SMALL = InputSpec(width=24, height=20)
Pixels = npt.NDArray[Any]

DTYPES = ["uint8", "uint16", "int16", "uint32", "int64", "float16", "float32", "float64"]
SIDES = st.tuples(st.integers(MIN_SIDE, 48), st.integers(MIN_SIDE, 48))
ANY_PIXELS = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, SIDES))
NO_WARNINGS = pytest.mark.filterwarnings("error")


def prepared(pixels: Pixels, spec: InputSpec = SPEC) -> Image8:
    return prepare(Scan(pixels=pixels, source="x.png"), spec).image


def padded(image: Image8, value: int, *sides: int) -> Image8:
    """With margins above, below, left and right."""
    above, below, left, right = sides
    return np.pad(image, ((above, below), (left, right)), constant_values=value)


# Intensities


@NO_WARNINGS
@settings(suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow])
@given(ANY_PIXELS)
@example(np.where(np.eye(32) > 0, 5e-324, 0.0))
@example(np.where(np.eye(32) > 0, 1.7e308, -1.7e308))
@example(np.where(np.arange(40000).reshape(200, 200) == 7, 1e308, np.arange(40000).reshape(200, 200) * 5e-324))
@example(np.full((33, 41), 2**63 - 1, np.int64))
def test_any_pixels_become_one_uint8_image_or_a_refusal(pixels: Pixels) -> None:
    try:
        made = prepare(Scan(pixels=pixels, source="x.png"), SMALL)
    except UnsupportedScan as error:
        refusal = error
    else:
        assert made.image.dtype == np.uint8
        assert made.image.shape == (1, 20, 24)
        assert made.intensity.mode == ("native" if pixels.dtype == np.uint8 else "percentile")
        return
    assert "x.png" in refusal.message
    assert refusal.remedy


@given(
    hnp.arrays(np.uint16, (32, 40), elements=st.integers(0, 65535), fill=st.nothing()),
    st.floats(min_value=1e-3, max_value=1e3),
    st.floats(min_value=-1e5, max_value=1e5),
)
@settings(suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow])
def test_slope_and_intercept_change_nothing(pixels: Pixels, slope: float, intercept: float) -> None:
    pixels[0, 0], pixels[0, 1] = 0, 4000  # never constant
    pixels[1:3] = np.arange(80).reshape(2, 40) * 50
    expected = prepared(pixels)
    assert (prepared(pixels * slope + intercept) == expected).all()


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "uint32", "int64", "float32", "float64"])
@pytest.mark.parametrize("bits", [9, 10, 12, 15])
def test_bit_depth_changes_nothing(bits: int, dtype: str) -> None:
    base = (draw_phantom(PhantomSpec(3)).astype(np.uint16) * 2) % 512
    expected = prepared(base)
    assert (prepared((base.astype(np.int64) << (bits - 9)).astype(dtype)) == expected).all()


def test_the_mapping_is_that_of_the_percentiles() -> None:
    pixels = np.arange(100 * 100, dtype=np.uint16).reshape(100, 100)
    image, intensity, warnings = to_uint8(pixels, InputSpec(low_percentile=10, high_percentile=90))
    assert (intensity.mode, intensity.low, intensity.high) == ("percentile", 999.0, 9000.0)
    assert warnings == ()
    assert image[0, 0] == 0
    assert image[-1, -1] == 255
    assert image[50, 0] == round((5000 - 999) / (9000 - 999) * 255)


def test_a_few_outliers_do_not_darken_the_rest() -> None:
    pixels = draw_phantom(PhantomSpec(2)).astype(np.float32)
    spoilt = pixels.copy()
    spoilt[5, 5:15] = 1e6
    difference = np.abs(prepared(spoilt).astype(int) - prepared(pixels).astype(int))
    assert difference.mean() < 3


def test_where_the_percentiles_coincide_the_full_range_is_used_and_said() -> None:
    pixels = np.zeros((64, 64), np.float32)
    pixels[30, 30] = 5.0
    made = prepare(Scan(pixels=pixels, source="x"), InputSpec(head_crop=False))
    assert "full range" in made.warnings[0]
    assert (made.intensity.low, made.intensity.high) == (0.0, 5.0)


def test_uint8_passes_through_as_it_is() -> None:
    image = draw_phantom(PhantomSpec(1, side=160))
    assert (prepared(image, InputSpec(head_crop=False))[0] == image).all()


@pytest.mark.parametrize("row", [0, 31, 32, 63])
def test_contrast_in_any_one_row_is_enough(row: int) -> None:
    image = np.full((64, 64), 100, np.uint8)
    image[row, 5] = 108
    for one in (image, np.asfortranarray(image), image[:, ::-1]):
        assert prepared(one, InputSpec(head_crop=False)).any()


# Refusals


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((1, 1), np.uint8), "1x1 pixels are too few"),
        (np.zeros((0, 0), np.uint8), "too few"),
        (np.zeros((500, MIN_SIDE - 1), np.uint8), "31x500 pixels are too few"),
        (np.zeros((64, 64), np.uint8), "nothing to see"),
        (np.full((64, 64), 255, np.uint8), "nothing to see"),
        (np.tile(np.array([7, 9], np.uint8), (64, 32)), "nothing to see"),
        (np.full((64, 64), 1234, np.uint16), "nothing to see"),
        (np.full((64, 64), -1e300), "nothing to see"),
        (np.full((64, 64), np.nan, np.float32), "not finite"),
        (np.pad(np.full((1, 1), np.nan), 40), "not finite"),
        (np.pad(np.full((1, 1), np.inf), 40), "not finite"),
        (np.zeros((64, 64, 3), np.uint8), "2-D"),
        (np.zeros(64, np.uint8), "2-D"),
        (np.eye(64, dtype=bool), "bool"),
        (np.eye(64, dtype=np.complex64), "complex64"),
    ],
)
def test_refusals(pixels: Pixels, words: str) -> None:
    with pytest.raises(UnsupportedScan) as caught:
        prepared(pixels)
    assert words in caught.value.message
    assert "x.png" in caught.value.message
    assert caught.value.remedy


def test_a_model_of_another_algorithm_is_refused() -> None:
    with pytest.raises(UnsupportedScan, match="version 4"):
        prepared(draw_phantom(PhantomSpec()), InputSpec(preprocessing=4))


# Head crop


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    rows = min(one.bottom, other.bottom) - max(one.top, other.top)
    columns = min(one.right, other.right) - max(one.left, other.left)
    both = max(0, rows) * max(0, columns)
    areas = [(b.bottom - b.top) * (b.right - b.left) for b in (one, other)]
    return both / (sum(areas) - both)


def moved(box: Box, rows: int, columns: int) -> Box:
    return Box(box.top + rows, box.bottom + rows, box.left + columns, box.right + columns)


def true_box(image: Image8) -> Box:
    rows, columns = np.nonzero(cv2.medianBlur(image, 5) > 40)
    return Box(int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1)


@pytest.fixture(params=SAMPLES, ids=lambda spec: f"{spec.seed}")
def drawn(request: pytest.FixtureRequest) -> Image8:
    return draw_phantom(request.param)


def test_the_head_is_found(drawn: Image8) -> None:
    head = find_head(drawn)
    assert overlap(head.box, true_box(drawn)) > 0.9
    assert head.background < 10


def test_a_dark_head_is_found_whole(drawn: Image8) -> None:
    dark = np.asarray(255 * (drawn / 255.0) ** 2.2 + 0.5, np.uint8)
    assert overlap(find_head(dark).box, find_head(drawn).box) > 0.9


def test_bundles_of_version_1_get_what_they_were_trained_with(drawn: Image8) -> None:
    assert overlap(find_head(drawn, 1).box, find_head(drawn).box) > 0.97
    dim = np.zeros((100, 100), np.uint8)
    dim[20:80, 20:80] = 12  # tissue below a tenth of the range
    dim[35:65, 35:65] = 250
    assert find_head(dim).box == Box(19, 81, 19, 81)
    assert find_head(dim, 1).box == Box(34, 66, 34, 66)


@pytest.mark.parametrize("margins", [(60, 60, 60, 60), (0, 120, 0, 0), (10, 0, 90, 30)])
def test_padding_is_cut_away(drawn: Image8, margins: tuple[int, int, int, int]) -> None:
    head = find_head(padded(drawn, 0, *margins))
    assert overlap(head.box, moved(true_box(drawn), margins[0], margins[2])) > 0.88


@pytest.mark.parametrize("width", [2, 4, 10, 25])
@pytest.mark.parametrize("level", [255, 128])
def test_a_drawn_frame_is_cut_away(drawn: Image8, width: int, level: int) -> None:
    head = find_head(padded(drawn, level, width, width, width, width))
    assert overlap(head.box, moved(true_box(drawn), width, width)) > 0.88
    assert head.background < 10


def test_no_bright_edge_of_a_frame_is_left(drawn: Image8) -> None:
    image = prepared(padded(drawn, 255, 10, 10, 10, 10))[0]
    plain = prepared(drawn)[0]
    for edge in (np.s_[:2], np.s_[-2:], np.s_[:, :2], np.s_[:, -2:]):
        assert float(image[edge].mean()) < float(plain[edge].mean()) + 12
    # A crop one pixel off moves every edge, so the pictures are compared blurred.
    soft = [cv2.GaussianBlur(picture, (0, 0), 3).ravel() for picture in (image, plain)]
    assert np.corrcoef(*soft)[0, 1] > 0.97


def test_an_inverted_picture_crops_alike(drawn: Image8) -> None:
    head = find_head(255 - drawn)
    assert overlap(head.box, true_box(drawn)) > 0.9
    assert head.background > 245
    assert np.abs((255 - prepared(255 - drawn).astype(int)) - prepared(drawn)).mean() < 2


def test_text_in_a_corner_is_no_head(drawn: Image8) -> None:
    image = padded(drawn, 0, 30, 30, 30, 30)
    cv2.putText(image, "R 12:30", (2, 20), cv2.FONT_HERSHEY_PLAIN, 1.0, (255,), 1)
    assert overlap(find_head(image).box, moved(true_box(drawn), 30, 30)) > 0.88


@pytest.mark.parametrize("side", [40, 128, 1000])
def test_the_size_of_the_picture_does_not_matter(side: int) -> None:
    image = cv2.resize(draw_phantom(PhantomSpec(4, side=512)), (side, side), interpolation=cv2.INTER_AREA)
    made = np.asarray(image, np.uint8)
    assert overlap(find_head(made).box, true_box(made)) > 0.75  # one mask pixel of margin is much of a small picture


def test_a_tight_crop_stays_whole() -> None:
    image = draw_phantom(PhantomSpec(1))
    box = true_box(image)
    rows, columns = (box.bottom - box.top) // 5, (box.right - box.left) // 5
    inside = image[box.top + rows : box.bottom - rows, box.left + columns : box.right - columns]
    head = find_head(inside)
    assert overlap(head.box, Box(0, inside.shape[0], 0, inside.shape[1])) > 0.9


@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(MIN_SIDE, 300), st.integers(MIN_SIDE, 300)),
        elements=st.sampled_from([0, 3, 90, 254, 255]),
    )
)
@settings(suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow])
def test_the_box_lies_inside_any_picture(image: Image8) -> None:
    box, background = find_head(image)
    assert 0 <= box.top < box.bottom <= image.shape[0]
    assert 0 <= box.left < box.right <= image.shape[1]
    assert 0 <= background <= 255


@pytest.mark.parametrize("shape", [(32, 5000), (5000, 32), (33, 33), (32, 40000)])
def test_odd_shapes_are_safe(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8)
    assert prepared(image).shape == (1, 160, 160)
    image[:] = 0
    image[10:20, 5:25] = 200
    assert prepared(image).max() > 0


@pytest.mark.parametrize("level", [0, 128, 255])
def test_one_colour_gives_the_whole_picture(level: int) -> None:
    image = np.full((64, 80), level, np.uint8)
    assert find_head(image) == (Box(0, 64, 0, 80), level)


# Resizing


@pytest.mark.parametrize(("height", "width"), [(100, 200), (400, 100), (160, 160), (37, 90)])
@pytest.mark.parametrize("spec", [SPEC, InputSpec(width=96, height=224)])
def test_the_aspect_ratio_is_kept(height: int, width: int, spec: InputSpec) -> None:
    fitted = fit(np.full((height, width), 200, np.uint8), spec, 7)
    assert fitted.shape == (spec.height, spec.width)
    rows, columns = np.nonzero(fitted == 200)
    tall, wide = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
    assert tall / wide == pytest.approx(height / width, rel=0.03)
    assert tall == spec.height or wide == spec.width
    assert rows.size == tall * wide
    assert (fitted[fitted != 200] == 7).all()
    margins = (rows.min(), spec.height - 1 - rows.max(), columns.min(), spec.width - 1 - columns.max())
    assert abs(margins[0] - margins[1]) <= 1
    assert abs(margins[2] - margins[3]) <= 1


def test_without_a_head_crop_nothing_is_cut() -> None:
    image = padded(draw_phantom(PhantomSpec(0)), 0, 100, 100, 100, 100)
    whole = prepared(image, InputSpec(head_crop=False))[0]
    rows, _ = np.nonzero(cv2.medianBlur(whole, 3) > 40)
    assert (rows.max() - rows.min()) / 160 == pytest.approx(0.9 * 256 / 456, rel=0.12)


def test_the_scan_itself_is_left_alone() -> None:
    pixels = draw_phantom(PhantomSpec(0)).astype(np.uint16)
    before = pixels.copy()
    pixels.setflags(write=False)
    prepared(pixels)
    assert (pixels == before).all()
