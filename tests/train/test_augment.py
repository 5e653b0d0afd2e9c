from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.train.augment import augment, random_curve
from edgebrain.train.config import AugmentConfig
from edgebrain.types import Image8

PROBABILITIES = (
    "flip",
    "flip_vertical",
    "quarter_turn",
    "affine",
    "curve",
    "non_monotone",
    "invert",
    "clahe",
    "bias_field",
    "blur",
    "sharpen",
    "low_resolution",
    "noise",
    "jpeg",
    "marks",
    "crop",
    "skull_strip",
    "ghost",
    "annotate",
)


def config(**values: float) -> AugmentConfig:
    """Nothing happens but what is named."""
    return msgspec.convert({**dict.fromkeys(PROBABILITIES, 0.0), **values}, AugmentConfig)


ALL = config(**dict.fromkeys(PROBABILITIES, 1.0))


@dataclass(frozen=True)
class Case:
    image: Image8
    side: tuple[int, int]
    seed: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    canvas = draw(st.integers(16, 48))
    image = draw(hnp.arrays(np.uint8, (canvas, canvas), elements=st.integers(0, 255)))
    side = (draw(st.integers(16, 48)), draw(st.integers(16, 48)))
    return Case(image, side, draw(st.integers(0, 2**32 - 1)))


@settings(deadline=None, max_examples=40)
@given(case=cases(), chosen=st.sampled_from([AugmentConfig(), ALL]))
def test_any_image_stays_an_image_and_is_left_alone(case: Case, chosen: AugmentConfig) -> None:
    before = case.image.copy()
    out = augment(case.image, case.side, chosen, np.random.default_rng(case.seed))
    assert out.dtype == np.uint8
    assert out.shape == case.side
    assert out.flags.c_contiguous
    assert np.array_equal(case.image, before)
    assert np.array_equal(out, augment(case.image, case.side, chosen, np.random.default_rng(case.seed)))


def head() -> Image8:
    return draw_phantom(PhantomSpec(seed=3, side=72))


def test_seed_epoch_and_sample_each_change_the_result() -> None:
    def one(*key: int) -> Image8:
        return augment(head(), (64, 64), AugmentConfig(), np.random.default_rng(key))

    assert np.array_equal(one(0, 1, 2), one(0, 1, 2))
    for other in ((1, 1, 2), (0, 2, 2), (0, 1, 3)):
        assert not np.array_equal(one(0, 1, 2), one(*other))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000))
def test_with_nothing_chosen_an_image_of_the_right_size_passes_unchanged(seed: int) -> None:
    assert np.array_equal(augment(head(), (72, 72), config(), np.random.default_rng(seed)), head())


def test_with_nothing_chosen_only_the_size_changes() -> None:
    ramp = np.tile(np.arange(72, dtype=np.uint8) * 3, (72, 1))
    out = augment(ramp, (48, 48), config(), np.random.default_rng(0))
    expected = np.arange(48) * 72 / 48 * 3
    # One grey level is a third of a pixel here; the border may repeat its last pixel.
    assert np.abs(out[:, :-1].astype(float) - expected[:-1]).max() <= 3


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1))
def test_monotone_curves_keep_the_order_of_grey_levels(seed: int) -> None:
    curve = random_curve(np.random.default_rng(seed), monotone=True).astype(int)
    assert curve.shape == (256,)
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] - curve[0] > 100


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1))
def test_other_curves_keep_air_dark(seed: int) -> None:
    assert random_curve(np.random.default_rng(seed), monotone=False)[0] <= 26


def test_other_curves_do_change_the_order_of_grey_levels() -> None:
    curves = [random_curve(np.random.default_rng(seed), monotone=False).astype(int) for seed in range(20)]
    assert sum((np.diff(curve) < 0).any() for curve in curves) > 10


@pytest.mark.parametrize("name", [name for name in PROBABILITIES if name != "non_monotone"])
def test_each_change_changes_the_image(name: str) -> None:
    out = augment(head(), (72, 72), config(**{name: 1.0}), np.random.default_rng(0))
    assert not np.array_equal(out, head())


def test_flips_and_inversion_are_what_they_say() -> None:
    rng = np.random.default_rng
    assert np.array_equal(augment(head(), (72, 72), config(flip=1.0), rng(0)), head()[:, ::-1])
    assert np.array_equal(augment(head(), (72, 72), config(flip_vertical=1.0), rng(0)), head()[::-1])
    assert np.array_equal(augment(head(), (72, 72), config(invert=1.0), rng(0)), 255 - head())


def test_a_probability_is_how_often_it_happens() -> None:
    flipped = [
        np.array_equal(augment(head(), (72, 72), config(flip=0.3), np.random.default_rng([0, k])), head()[:, ::-1])
        for k in range(300)
    ]
    assert 0.21 < np.mean(flipped) < 0.39
