from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebrain.train.similarity import SIDE, components, join, keepers, similarity, thumbnail
from edgebrain.types import Image8


def texture(seed: int, side: int = 96) -> Image8:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8)).astype(np.float32)
    image = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def blend(seed: int, other: int, share: float) -> Image8:
    mixed = (1 - share) * texture(seed).astype(np.float64) + share * texture(other)
    return np.asarray(mixed.round(), np.uint8)


def alike(a: Image8, b: Image8) -> tuple[float, int]:
    cosine, turn = similarity(thumbnail(a)[np.newaxis], thumbnail(b)[np.newaxis])
    return float(cosine[0]), int(turn[0])


def stack(*images: Image8) -> Image8:
    return np.stack([thumbnail(image) for image in images])


def slow_components(thumbs: Image8, threshold: float) -> list[int]:
    labels = list(range(len(thumbs)))
    for i, a in enumerate(thumbs):
        for j, b in enumerate(thumbs[:i]):
            square = b.reshape(SIDE, SIDE)
            turned = (square, square[:, ::-1], square[::-1], square[::-1, ::-1])
            if max(np.corrcoef(a, one.ravel())[0, 1] for one in turned) > threshold:
                low, high = sorted((labels[i], labels[j]))
                labels = [low if label == high else label for label in labels]
    return labels


@pytest.mark.parametrize(
    ("turn", "copy"),
    [
        (0, texture(1)),
        (1, texture(1)[:, ::-1]),
        (2, texture(1)[::-1]),
        (3, texture(1)[::-1, ::-1]),
    ],
)
def test_mirrored_copies_are_copies(turn: int, copy: Image8) -> None:
    cosine, found = alike(texture(1), np.ascontiguousarray(copy))
    assert cosine > 0.9999
    assert found == turn


def test_what_does_not_make_another_image() -> None:
    original = texture(2, side=200)
    jpeg = cv2.imdecode(cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_GRAYSCALE)
    squeezed = cv2.resize(original, (224, 160), interpolation=cv2.INTER_AREA)
    darker = (original.astype(np.float64) * 0.5 + 20).round().astype(np.uint8)
    for copy in (jpeg, squeezed, darker):
        assert alike(original, np.asarray(copy, np.uint8))[0] > 0.99


def test_what_makes_another_image() -> None:
    assert alike(texture(3), texture(4))[0] < 0.9
    assert alike(texture(3), np.ascontiguousarray(np.rot90(texture(3))))[0] < 0.9
    assert alike(texture(3), np.asarray(255 - texture(3), np.uint8))[0] < 0.9


def test_a_constant_image_is_like_nothing_not_even_itself() -> None:
    flat = np.full((64, 64), 7, np.uint8)
    assert alike(flat, flat)[0] == 0.0
    (labels,) = components(stack(flat, flat, texture(1)), [0.5])
    assert labels.tolist() == [0, 1, 2]


@settings(max_examples=25, deadline=None)
@given(
    recipe=st.lists(
        st.tuples(st.integers(0, 5), st.integers(6, 9), st.floats(0, 0.3), st.integers(0, 3)), min_size=1, max_size=16
    ),
    block=st.integers(1, 17),
)
def test_blocked_search_equals_comparing_one_by_one(recipe: list[tuple[int, int, float, int]], block: int) -> None:
    images = [blend(seed, other, share) for seed, other, share, _ in recipe]
    turns = [(slice(None), slice(None, None, 1 - 2 * (turn & 1))) for *_, turn in recipe]
    flips = [slice(None, None, 1 - (turn & 2)) for *_, turn in recipe]
    turned = [np.ascontiguousarray(im[t][f]) for im, t, f in zip(images, turns, flips, strict=True)]
    thumbs = stack(*turned)
    copies, groups = components(thumbs, (0.99, 0.95), block=block)
    assert copies.tolist() == slow_components(thumbs, 0.99)
    assert groups.tolist() == slow_components(thumbs, 0.95)


def test_the_exact_cosine_decides_at_the_threshold() -> None:
    for seed in range(20):
        thumbs = stack(texture(seed), blend(seed, seed + 50, 0.2))
        exact = float(similarity(thumbs[:1], thumbs[1:])[0][0])
        at, below = components(thumbs, (exact, float(np.nextafter(exact, 0))))
        assert at.tolist() == [0, 1]
        assert below.tolist() == [0, 0]


def test_progress_counts_blocks() -> None:
    calls: list[tuple[int, int]] = []
    components(stack(*map(texture, range(5))), [0.9], block=2, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(k, 6) for k in range(1, 7)]


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_join_equals_plain_union(case: tuple[int, list[tuple[int, int]]]) -> None:
    count, pairs = case
    expected = list(range(count))
    for a, b in pairs:
        low, high = sorted((expected[a], expected[b]))
        expected = [low if label == high else label for label in expected]
    sides: npt.NDArray[np.intp] = np.array(pairs, np.intp).reshape(-1, 2)
    assert join(np.arange(count), sides[:, 0], sides[:, 1]).tolist() == expected


def test_the_ends_of_a_chain_are_both_kept() -> None:
    chain = stack(*(blend(1, 2, share) for share in (0.0, 0.12, 0.24)))
    near, far = similarity(chain[1:], chain[:1])[0]
    assert near > 0.985 > far
    assert len(set(components(chain, [0.985])[0].tolist())) == 1
    assert keepers(chain, [0, 1, 2], 0.985) == {1: (0, 0)}
    assert keepers(chain, [1, 0, 2], 0.985) == {0: (1, 0), 2: (1, 0)}


def test_a_copy_goes_to_the_kept_image_it_is_most_like() -> None:
    thumbs = stack(
        blend(1, 2, 0.1), blend(1, 3, 0.1), texture(1)[:, ::-1], np.ascontiguousarray(blend(1, 3, 0.1)[::-1])
    )
    assert keepers(thumbs, [0, 1, 3], 0.995) == {3: (1, 2)}
