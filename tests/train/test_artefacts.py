from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.train.artefacts import add_artefacts
from edgebrain.train.config import AugmentConfig
from edgebrain.types import Image8

EVERYTHING = AugmentConfig(ghost=1.0, skull_strip=1.0, crop=1.0, annotate=1.0)
HEAD = draw_phantom(PhantomSpec(seed=3, side=96))


@settings(max_examples=60)
@given(
    st.integers(8, 48).flatmap(lambda side: hnp.arrays(np.uint8, (side, side), elements=st.integers(0, 255))),
    st.integers(0, 2**32 - 1),
)
def test_any_picture_keeps_its_size_and_is_not_written_to(image: Image8, seed: int) -> None:
    before = image.copy()
    out = add_artefacts(image, EVERYTHING, np.random.default_rng(seed))
    assert out.shape == image.shape
    assert out.dtype == np.uint8
    assert np.array_equal(image, before)
    assert np.array_equal(add_artefacts(image, EVERYTHING, np.random.default_rng(seed)), out)


def test_what_no_recipe_asks_for_draws_no_random_number() -> None:
    rng = np.random.default_rng(1)
    assert add_artefacts(HEAD, AugmentConfig(), rng) is HEAD
    assert rng.random() == np.random.default_rng(1).random()


@pytest.mark.parametrize("name", ["ghost", "skull_strip", "crop", "annotate"])
def test_each_happens_as_often_as_asked_for(name: str) -> None:
    config = AugmentConfig(**{name: 0.4})  # type: ignore[arg-type] # only shares are named
    changed = [add_artefacts(HEAD, config, np.random.default_rng([2, k])) is not HEAD for k in range(200)]
    assert 0.3 < np.mean(changed) < 0.5


def test_a_ghost_puts_fainter_copies_beside_the_head() -> None:
    head = np.zeros((96, 96), np.uint8)
    cv2.circle(head, (48, 48), 14, (200,), cv2.FILLED)
    for seed in range(20):
        out = add_artefacts(head, AugmentConfig(ghost=1.0), np.random.default_rng(seed)).astype(int)
        assert 8 <= out[head == 0].max() <= 200 * 0.22 * 2  # two copies at most over one another
        assert out[48, 48] >= 200 * (1 - 0.22) - 1


def test_marks_cover_little_and_leave_the_rest_as_it_was() -> None:
    for seed in range(20):
        out = add_artefacts(HEAD, AugmentConfig(annotate=1.0), np.random.default_rng(seed))
        assert 0.001 < (out != HEAD).mean() < 0.2
        assert len(np.unique(out[out != HEAD])) == 1  # one ink


def test_a_crop_cuts_into_the_head_and_fills_the_picture_again() -> None:
    around = np.full((72, 72), 30, np.uint8)
    around[16:56, 6:66] = 200  # a head that is wider than high
    for seed in range(20):
        out = add_artefacts(around, AugmentConfig(crop=1.0), np.random.default_rng(seed))
        inside = out[out.shape[0] // 2]
        assert (inside == 200).all()  # from side to side
        rows = np.flatnonzero(out[:, 36] == 200)
        assert 72 * 28 / 60 <= len(rows) <= 72 * 41 / 42  # at most a seventh is off each side
        assert set(np.unique(out)) <= {0, 200}  # what makes it square is black, whatever was around


def test_a_crop_leaves_a_picture_without_a_head_alone() -> None:
    blank = np.full((72, 72), 30, np.uint8)
    assert np.array_equal(add_artefacts(blank, AugmentConfig(crop=1.0), np.random.default_rng(0)), blank)


def test_a_crop_leaves_what_is_too_thin_for_a_head_alone() -> None:
    for rows, columns in ((1, 1), (1, 60), (60, 1), (5, 5)):
        thin = np.full((72, 72), 30, np.uint8)
        thin[10 : 10 + rows, 6 : 6 + columns] = 200
        for seed in range(20):
            out = add_artefacts(thin, AugmentConfig(crop=1.0), np.random.default_rng(seed))
            assert np.array_equal(out, thin)


def test_peeling_takes_off_the_rim_and_fills_the_picture_again() -> None:
    around = np.zeros((96, 96), np.uint8)
    cv2.ellipse(around, (48, 48), (40, 44), 0, 0, 360, (220,), cv2.FILLED)
    cv2.ellipse(around, (48, 48), (37, 41), 0, 0, 360, (90,), cv2.FILLED)
    stretched = 0
    for seed in range(20):
        out = add_artefacts(around, AugmentConfig(skull_strip=1.0), np.random.default_rng(seed))
        brain = out[40:56, 40:56]
        stretched += int(brain.max() > 90)
        assert (brain == brain[0, 0]).all()
        rows, columns = np.nonzero(out > 10)
        assert max(np.ptp(rows), np.ptp(columns)) >= 94  # as large as preprocessing makes it
        assert (out == 0).mean() > 0.1
    assert 4 < stretched < 16  # every second one


def test_peeling_takes_the_scalp_off_where_it_goes_deep_enough() -> None:
    around = np.zeros((96, 96), np.uint8)
    cv2.circle(around, (48, 48), 44, (250,), cv2.FILLED)
    cv2.circle(around, (48, 48), 42, (90,), cv2.FILLED)  # a scalp of 2.6 % of the head's size
    left = [
        (add_artefacts(around, AugmentConfig(skull_strip=1.0), np.random.default_rng(seed)) == 250).sum()
        for seed in range(20)
    ]
    assert np.mean(np.array(left) < 0.25 * (around == 250).sum()) > 0.6


@pytest.mark.parametrize("level", [0, 30, 255])
def test_peeling_leaves_a_picture_without_a_head_alone(level: int) -> None:
    blank = np.full((72, 72), level, np.uint8)
    blank[30:34, 30:34] ^= 255
    out = add_artefacts(blank, AugmentConfig(skull_strip=1.0), np.random.default_rng(0))
    assert level or np.array_equal(out, blank)
    assert out.shape == (72, 72)
