from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.train import pictures
from edgebrain.train.pictures import Rng, draw_picture, framed
from edgebrain.types import Image8

Kind = Callable[[int, Rng], Image8]

SEEDS = st.integers(0, 2**32 - 1)


def scan(side: int = 96) -> Image8:
    return draw_phantom(PhantomSpec(seed=1, side=side))


def tiles(side: int, rng: Rng) -> Image8:
    return pictures._tiles(scan(), side, rng)


KINDS: list[Kind] = [*pictures._KINDS, tiles]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__.strip("_") for kind in KINDS])


@every_kind
@settings(max_examples=25)
@given(seed=SEEDS, side=st.integers(24, 100))
def test_every_kind_is_an_image_that_its_seed_repeats(kind: Kind, seed: int, side: int) -> None:
    drawn = kind(side, np.random.default_rng(seed))
    assert drawn.shape == (side, side)
    assert drawn.dtype == np.uint8
    assert np.array_equal(drawn, kind(side, np.random.default_rng(seed)))


@every_kind
def test_next_to_no_picture_is_empty_or_comes_twice(kind: Kind) -> None:
    drawn = [kind(96, np.random.default_rng(seed)) for seed in range(60)]
    assert sum(int(image.min()) == int(image.max()) for image in drawn) <= 2
    assert len({image.tobytes() for image in drawn}) >= 58


@settings(max_examples=40)
@given(seed=SEEDS, side=st.integers(24, 100))
def test_any_seed_draws_a_picture_and_leaves_the_scan_alone(seed: int, side: int) -> None:
    source = scan()
    drawn = draw_picture(side, source, np.random.default_rng(seed))
    assert drawn.shape == (side, side)
    assert drawn.dtype == np.uint8
    assert np.array_equal(drawn, draw_picture(side, source, np.random.default_rng(seed)))
    assert np.array_equal(source, scan())


def test_every_kind_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []

    def numbered(index: int) -> Kind:
        def draw(side: int, _: Rng) -> Image8:
            called.append(index)
            return np.full((side, side), 255, np.uint8)

        return draw

    count = len(pictures._KINDS)
    monkeypatch.setattr(pictures, "_KINDS", tuple(numbered(i) for i in range(count)))
    drawn = [draw_picture(48, scan(48), np.random.default_rng(seed)) for seed in range(300)]
    assert set(called) == set(range(count))
    assert 20 < 300 - len(called) < 75  # tiles of the scan
    in_an_oval = sum(image.max() == 255 and image[0, 0] == 0 and image[24, 24] == 255 for image in drawn)
    assert 40 < in_an_oval < 130


def test_tiles_are_of_the_scan_and_no_longer_the_scan() -> None:
    source = scan()
    for seed in range(10):
        cut = pictures._tiles(source, 96, np.random.default_rng(seed))
        assert abs(float(cut.mean()) - float(source.mean())) < 0.1 * float(source.mean())
        assert np.abs(cut.astype(int) - source).mean() > 10


@settings(max_examples=60)
@given(seed=SEEDS, side=st.integers(24, 100))
def test_a_frame_is_black_at_the_corners_and_keeps_the_middle(seed: int, side: int) -> None:
    image = np.full((side, side), 200, np.uint8)
    out = framed(image, np.random.default_rng(seed))
    assert out.shape == image.shape
    assert out.dtype == np.uint8
    assert [int(out[y, x]) for y in (0, -1) for x in (0, -1)] == [0, 0, 0, 0]
    assert out[side // 2, side // 2] == 200
    assert set(np.unique(out).tolist()) == {0, 200}
    assert (image == 200).all()
