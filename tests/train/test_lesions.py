from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.stress.scalp import depth_in_head
from edgebrain.train import lesions
from edgebrain.train.lesions import draw_lesion
from edgebrain.types import Image8

SEEDS = st.integers(0, 2**32 - 1)
IMAGES = st.tuples(st.integers(8, 48), st.integers(8, 48)).flatmap(
    lambda shape: hnp.arrays(np.uint8, shape, elements=st.integers(0, 255))
)


def head(seed: int = 3, side: int = 128) -> Image8:
    return draw_phantom(PhantomSpec(seed=seed, side=side))


@settings(max_examples=60)
@given(image=IMAGES, seed=SEEDS)
def test_any_image_is_left_alone_and_gives_a_changed_one_or_none(image: Image8, seed: int) -> None:
    before = image.copy()
    drawn = draw_lesion(image, np.random.default_rng(seed))
    assert np.array_equal(image, before)
    again = draw_lesion(image, np.random.default_rng(seed))
    if drawn is None:
        assert again is None
        return
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert not np.array_equal(drawn, image)
    assert again is not None
    assert np.array_equal(drawn, again)


@settings(max_examples=40)
@given(seed=SEEDS, scan=st.integers(0, 5))
def test_every_head_gets_a_lesion_that_can_be_seen(seed: int, scan: int) -> None:
    image = head(scan)
    drawn = draw_lesion(image, np.random.default_rng(seed))
    assert drawn is not None
    assert np.abs(drawn.astype(int) - image).max() >= 8


def test_another_seed_draws_another_lesion() -> None:
    drawn = [draw_lesion(head(), np.random.default_rng(seed)) for seed in range(12)]
    assert len({image.tobytes() for image in drawn if image is not None}) == 12


@pytest.fixture
def unmoved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lesions that push nothing aside."""
    monkeypatch.setattr(lesions, "_push", lambda image, *_: image)


@pytest.mark.usefixtures("unmoved")
@pytest.mark.parametrize("scan", range(4))
def test_skin_skull_and_air_carry_no_lesion(scan: int) -> None:
    image = head(scan)
    inside = lesions._allowed(image) > 0
    assert 0.1 < inside.mean() < 0.5
    for seed in range(30):
        drawn = draw_lesion(image, np.random.default_rng(seed))
        assert drawn is not None
        assert np.array_equal(drawn[~inside], image[~inside])


@pytest.mark.usefixtures("unmoved")
@pytest.mark.parametrize("scan", range(4))
def test_a_lesion_fades_out_towards_the_skull(scan: int) -> None:
    """A hard edge along the outline of the head would be the mark of every drawing that reaches it."""
    image = head(scan)
    depth = depth_in_head(image)
    assert depth is not None
    begins = (depth > 0.13) & (depth < 0.14)
    further_in = (depth > 0.19) & (depth < 0.2)
    drawn = [draw_lesion(image, np.random.default_rng(seed)) for seed in range(60)]
    changed = np.mean([np.abs(one.astype(int) - image) for one in drawn if one is not None], axis=0)
    assert 0 < changed[begins].mean() < 0.5 * changed[further_in].mean()


def test_about_half_of_the_lesions_push_tissue_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    pushed = []
    push = lesions._push

    def watch(image: Image8, center: tuple[float, float], radius: float, amount: float) -> Image8:
        pushed.append(amount)
        return push(image, center, radius, amount)

    monkeypatch.setattr(lesions, "_push", watch)
    for seed in range(100):
        draw_lesion(head(side=64), np.random.default_rng(seed))
    assert 30 < len(pushed) < 70
    assert 0.1 <= min(pushed) < max(pushed) <= 0.35


def test_pushing_moves_what_is_near_outwards_and_leaves_what_is_far() -> None:
    image = np.zeros((65, 65), np.uint8)
    image[32, 40] = image[32, 24] = image[2, 2] = 255
    moved = lesions._push(image, (32.0, 32.0), 8.0, 0.3)
    row = moved[32]
    assert row[33:].argmax() + 33 > 40
    assert row[:32].argmax() < 24
    assert moved[2, 2] > 200


@pytest.mark.parametrize("seed", range(5))
def test_where_there_is_no_head_there_is_no_lesion(seed: int) -> None:
    assert draw_lesion(np.zeros((64, 64), np.uint8), np.random.default_rng(seed)) is None
    speck = np.zeros((64, 64), np.uint8)
    speck[30:34, 30:34] = 200
    assert draw_lesion(speck, np.random.default_rng(seed)) is None
