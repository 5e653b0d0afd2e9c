"""Episodes: fixed by seed and index, and groups never on both sides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebrain.errors import TrainingError
from edgebrain.train.episodes import EpisodeSampler, Pool, pool_of

TARGETS = np.repeat([0, 1, 2], 42).astype(np.intp)
GROUPS = (np.arange(126) // 3).astype(np.intp)  # none of them in two classes


def sampler(**changes: object) -> EpisodeSampler:
    options = {"shots": 5, "queries": 5, "seed": 1, **changes}
    return EpisodeSampler(pool_of(TARGETS), GROUPS, [(0, 1), (1, 2)], **options)  # type: ignore[arg-type]


@given(
    index=st.integers(0, 10**6), seed=st.integers(0, 2**32 - 1), shots=st.integers(1, 20), queries=st.integers(1, 20)
)
def test_groups_are_never_on_both_sides(index: int, seed: int, shots: int, queries: int) -> None:
    episode = sampler(seed=seed, shots=shots, queries=queries, permute=True).episode(index)
    assert episode.support.shape == (2, shots)
    assert episode.query.shape == (2, queries)
    assert not set(GROUPS[episode.support.ravel()]) & set(GROUPS[episode.query.ravel()])
    for place, one in enumerate(episode.classes):
        assert set(TARGETS[episode.support[place]]) == set(TARGETS[episode.query[place]]) == {one}


@given(groups=st.lists(st.integers(0, 5), min_size=30, max_size=30), index=st.integers(0, 1000))
def test_groups_that_several_classes_share_keep_one_side(groups: list[int], index: int) -> None:
    targets, names = np.repeat([0, 1], 15).astype(np.intp), np.array(groups, np.intp)
    try:
        episode = EpisodeSampler(pool_of(targets), names, [(0, 1)], shots=3, queries=3, seed=0).episode(index)
    except TrainingError:
        return  # groups that cannot be kept apart are refused
    assert not set(names[episode.support.ravel()]) & set(names[episode.query.ravel()])


def test_an_episode_depends_on_seed_and_index_alone() -> None:
    first, second = sampler(), sampler()
    late = second.episode(7)
    for index in range(7):
        second.episode(index)
    early = first.episode(7)
    assert early.classes == late.classes
    assert np.array_equal(early.support, late.support)
    assert np.array_equal(early.query, late.query)
    assert not np.array_equal(first.episode(7).support, sampler(seed=2).episode(7).support)
    assert not np.array_equal(first.episode(7).support, first.episode(8).support)


def test_scans_of_an_episode_come_from_different_groups_where_there_are_enough() -> None:
    episode = sampler().episode(0)
    for rows in (*episode.support, *episode.query):
        assert len(set(GROUPS[rows])) == 5
    assert len({*episode.support.ravel(), *episode.query.ravel()}) == 20


def test_support_and_query_may_have_pools_of_their_own() -> None:
    pool = Pool({0: np.arange(20), 1: np.arange(40, 60)}, {0: np.arange(20, 40), 1: np.arange(60, 80)})
    episode = EpisodeSampler(pool, GROUPS, [(0, 1)], shots=4, queries=4, seed=0).episode(3)
    assert set(episode.support[0]) <= set(range(20))
    assert set(episode.query[1]) <= set(range(60, 80))


def test_without_disjoint_groups_no_row_is_on_both_sides() -> None:
    one_group = np.zeros(120, np.intp)
    free = EpisodeSampler(pool_of(TARGETS), one_group, [(0, 1)], shots=5, queries=5, seed=0, disjoint=False)
    episode = free.episode(0)
    assert not set(episode.support.ravel()) & set(episode.query.ravel())


def test_one_group_cannot_be_both_support_and_query() -> None:
    with pytest.raises(TrainingError, match="too few groups"):
        EpisodeSampler(pool_of(TARGETS), np.zeros(120, np.intp), [(0, 1)], shots=1, queries=1, seed=0)
