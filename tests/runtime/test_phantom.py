from __future__ import annotations

import numpy as np
import pytest

from edgebrain.errors import UsageError
from edgebrain.phantom import LESIONS, SAMPLES, PhantomSpec, draw_phantom, sample_name


@pytest.mark.parametrize("spec", SAMPLES, ids=sample_name)
def test_samples_are_grey_pictures_of_something_bright_on_black(spec: PhantomSpec) -> None:
    image = draw_phantom(spec)
    assert image.dtype == np.uint8
    assert image.shape == (256, 256)
    assert np.median(np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])) < 10
    assert 0.2 < float((image > 50).mean()) < 0.7


def test_a_spec_is_a_picture() -> None:
    assert (draw_phantom(PhantomSpec(9)) == draw_phantom(PhantomSpec(9))).all()
    assert (draw_phantom(PhantomSpec(9)) != draw_phantom(PhantomSpec(10))).any()


@pytest.mark.parametrize("lesion", [name for name in LESIONS if name != "none"])
@pytest.mark.parametrize("seed", [0, 5])
def test_a_lesion_is_a_bright_spot_that_the_same_head_without_one_lacks(lesion: str, seed: int) -> None:
    with_one = draw_phantom(PhantomSpec(seed, lesion)).astype(int)
    without = draw_phantom(PhantomSpec(seed)).astype(int)
    assert 0.002 < float((with_one - without > 40).mean()) < 0.1


def test_the_two_contrasts_differ() -> None:
    assert draw_phantom(PhantomSpec(1, t2_like=True)).mean() > draw_phantom(PhantomSpec(1)).mean()


@pytest.mark.parametrize("side", [32, 33, 100, 700])
def test_any_side_from_the_smallest_on(side: int) -> None:
    assert draw_phantom(PhantomSpec(side=side)).shape == (side, side)


@pytest.mark.parametrize(
    ("spec", "words"), [(PhantomSpec(side=31), "31 pixels"), (PhantomSpec(lesion="left"), "'left'")]
)
def test_what_cannot_be_drawn_is_refused(spec: PhantomSpec, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        draw_phantom(spec)


def test_names_of_samples_say_what_they_are_and_differ() -> None:
    names = {sample_name(spec) for spec in SAMPLES}
    assert len(names) == len(SAMPLES)
    assert "phantom-0-t2-lesion-none.png" in names
