from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebrain.errors import UsageError
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.preprocessing import prepare
from edgebrain.stress.changes import CLEAN, STRESSES, apply, find_stress
from edgebrain.types import Image8, InputSpec, Scan

if TYPE_CHECKING:
    from edgebrain.stress.changes import Stress

MONOTONE = [s for s in STRESSES if s.name.startswith(("gamma", "inverted", "clahe"))]
RANDOM = ("noisy_5", "noisy_10", "bias_field", "text", "annotated")
HEAD = draw_phantom(PhantomSpec(seed=4, lesion="edge", side=192))


def seen(pixels: npt.NDArray[Any]) -> Image8:
    return prepare(Scan(pixels=pixels, source="a.png"), InputSpec()).image


def name_of(stress: Stress) -> str:
    return stress.name


@given(
    st.integers(1, 300),
    st.integers(1, 40),
    st.sampled_from([np.uint8, np.int16, np.uint16, np.float32, np.int64]),
    st.sampled_from(STRESSES),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=150)
def test_any_picture_stays_a_picture(rows: int, columns: int, dtype: Any, stress: Stress, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 200, (rows, columns)).astype(dtype)
    before = pixels.copy()
    changed = apply(stress, pixels, "a")
    assert changed.ndim == 2
    assert all(1 <= new <= 2 * old + 2 for new, old in zip(changed.shape, (max(rows, columns),) * 2, strict=True))
    assert np.isfinite(changed).all()
    assert (changed.dtype == np.uint8) or dtype is not np.uint8
    np.testing.assert_array_equal(pixels, before)
    np.testing.assert_array_equal(apply(stress, pixels, "a"), changed)


@pytest.mark.parametrize("stress", STRESSES[1:], ids=name_of)
def test_every_stress_changes_a_head_and_leaves_one_to_see(stress: Stress) -> None:
    changed = apply(stress, HEAD, "a")
    assert changed.shape != HEAD.shape or (changed != HEAD).any()
    assert seen(changed).shape == (1, 160, 160)


def test_clean_is_the_identity() -> None:
    assert STRESSES[0].name == CLEAN
    assert apply(STRESSES[0], HEAD, "a") is HEAD


def test_names_are_unique_and_known() -> None:
    assert len({s.name for s in STRESSES}) == len(STRESSES)
    assert find_stress("inverted").limit == 5
    with pytest.raises(UsageError, match="no stress 'sideways'"):
        find_stress("sideways")


def test_limits_are_those_of_the_plan() -> None:
    special = {s.name: s.limit for s in STRESSES if s.limit != 2}
    assert special == {"clean": None, "inverted": 5, "resolution_128": 1}


@pytest.mark.parametrize("stress", MONOTONE, ids=name_of)
def test_the_slope_of_16_bits_changes_nothing(stress: Stress) -> None:
    wide = np.random.default_rng(0).integers(0, 90, HEAD.shape).astype(np.uint16) + HEAD.astype(np.uint16) * 100
    np.testing.assert_array_equal(seen(apply(stress, wide, "a")), seen(apply(stress, wide * np.uint16(2), "a")))


@pytest.mark.parametrize("name", RANDOM)
def test_what_is_random_depends_on_scan_and_name(name: str) -> None:
    stress = find_stress(name)
    assert (apply(stress, HEAD, "one") != apply(stress, HEAD, "other")).any()


def test_inverting_twice_gives_the_scan_back() -> None:
    inverted = find_stress("inverted")
    np.testing.assert_array_equal(apply(inverted, apply(inverted, HEAD, "a"), "a"), HEAD)


def test_gamma_below_one_brightens() -> None:
    assert (
        apply(find_stress("gamma_0.5"), HEAD, "a").mean()
        > HEAD.mean()
        > apply(find_stress("gamma_2.2"), HEAD, "a").mean()
    )


def test_geometry_by_hand() -> None:
    turned = apply(find_stress("rotated_90"), HEAD[:, :100], "a")
    assert turned.shape == (100, 192)
    assert apply(find_stress("squeezed_0.75"), HEAD, "a").shape == (192, 144)
    padded = apply(find_stress("padded_white"), HEAD, "a")
    assert padded.shape == (230, 230)
    assert set(padded[:19].ravel()) == {255}
    np.testing.assert_array_equal(padded[19:-19, 19:-19], HEAD)
    sizes = [apply(find_stress(f"cropped_{inside}"), HEAD, "a").size for inside in (0, 5, 10)]
    assert HEAD.size > sizes[0] > sizes[1] > sizes[2]


def test_a_tilt_keeps_all_of_the_scan_on_black() -> None:
    bright = np.full((60, 90), 200, np.uint8)
    tilted = apply(find_stress("tilted_30"), bright, "a")
    assert tilted.shape == (97, 108)  # 60 cos 30 + 90 sin 30, and 90 cos 30 + 60 sin 30, rounded up
    assert (tilted > 100).sum() == pytest.approx(bright.size, rel=0.02)
    assert tilted[0, 0] == tilted[-1, -1] == 0


def test_ghosts_lie_a_third_of_the_height_away() -> None:
    line = np.zeros((90, 40), np.uint8)
    line[45] = 200
    ghosted = apply(find_stress("ghosted"), line, "a")
    assert {row: int(ghosted[row, 0]) for row in np.flatnonzero(ghosted[:, 0])} == {15: 36, 45: 164, 75: 36}


def test_marks_are_white_and_thin() -> None:
    annotated = apply(find_stress("annotated"), HEAD, "a")
    assert set(np.unique(annotated[annotated != HEAD])) == {255}
    assert 0.005 < (annotated != HEAD).mean() < 0.08


def test_noise_is_as_strong_as_it_says() -> None:
    flat = np.full((200, 200), 128, np.uint8)
    for name, share in (("noisy_5", 0.05), ("noisy_10", 0.10)):
        noisy = apply(find_stress(name), flat, "a").astype(float)
        assert noisy.std() / 255 == pytest.approx(share, rel=0.05)


def test_the_bias_field_goes_from_half_to_one_and_a_half() -> None:
    flat = np.full((200, 200), 100, np.uint8)
    changed = apply(find_stress("bias_field"), flat, "a")
    assert (changed.min(), changed.max()) == (50, 150)


@pytest.mark.parametrize("stress", STRESSES, ids=name_of)
def test_pixels_without_a_range_are_left_to_preprocessing(stress: Stress) -> None:
    assert apply(stress, np.full((40, 40), 7, np.uint16), "a").ndim == 2
    assert apply(stress, np.full((40, 40), np.nan, np.float32), "a").ndim == 2
