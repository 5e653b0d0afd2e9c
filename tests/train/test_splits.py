from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebrain.errors import UsageError
from edgebrain.labelled import Sample
from edgebrain.train.given_splits import check_apart
from edgebrain.train.splits import (
    SPLITS,
    Fractions,
    by_group,
    hold_out,
    keep_test,
    one_vocabulary,
    usable,
)

LABELS = ("glioma", "meningioma", "no_tumor", "pituitary")
FRACTIONS: tuple[Fractions, ...] = ((0.7, 0.15, 0.15), (0.6, 0.2, 0.2), (0.8, 0.2, 0.0), (1.0, 0.0, 0.0))


def make(groups: Sequence[tuple[str, str, int, int]]) -> list[Sample]:
    """Samples of (label, source, unique images, copies) a group."""
    made: list[Sample] = []
    for number, (label, source, unique, copies) in enumerate(groups):
        for member in range(unique + copies):
            path = f"/{source}/{label}/{number}-{member}.png"
            copy_of = f"/{source}/{label}/{number}-0.png" if member >= unique else ""
            made.append(Sample(path, label, source, f"{number:04x}", copy_of=copy_of))
    return made


GROUPS = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from(["one", "two"]), st.integers(1, 6), st.integers(0, 3)),
    min_size=1,
    max_size=40,
)
CASES = {"samples": GROUPS.map(make), "fractions": st.sampled_from(FRACTIONS), "seed": st.integers(0, 5)}


@given(**CASES)
def test_groups_stay_whole_and_nothing_is_lost(samples: list[Sample], fractions: Fractions, seed: int) -> None:
    split = by_group(samples, fractions=fractions, seed=seed)
    assert [replace(s, split="") for s in split] == samples
    homes = defaultdict(set)
    for sample in split:
        homes[sample.group].add(sample.split)
    assert all(len(home) == 1 for home in homes.values())
    active = {name for name, share in zip(SPLITS, fractions, strict=True) if share > 0}
    assert {s.split for s in split} <= active


@given(**CASES, shuffle=st.randoms(use_true_random=False))
def test_order_does_not_matter(samples: list[Sample], fractions: Fractions, seed: int, shuffle: random.Random) -> None:
    expected = {s.path: s.split for s in by_group(samples, fractions=fractions, seed=seed)}
    mixed = list(samples)
    shuffle.shuffle(mixed)
    assert {s.path: s.split for s in by_group(mixed, fractions=fractions, seed=seed)} == expected


@given(**CASES)
def test_every_class_is_in_every_split_if_it_has_groups_enough(
    samples: list[Sample], fractions: Fractions, seed: int
) -> None:
    split = by_group(samples, fractions=fractions, seed=seed)
    active = {name for name, share in zip(SPLITS, fractions, strict=True) if share > 0}
    groups = defaultdict(set)
    for sample in samples:
        groups[sample.label].add(sample.group)
    for label, ids in groups.items():
        there = {s.split for s in split if s.label == label and usable(s)}
        assert len(there) == min(len(ids), len(active))


@given(**CASES)
def test_shares_are_met_to_a_group(samples: list[Sample], fractions: Fractions, seed: int) -> None:
    split = by_group(samples, fractions=fractions, seed=seed)
    for label in LABELS:
        sizes = Counter(s.group for s in samples if s.label == label and usable(s))
        counts = Counter(s.split for s in split if s.label == label and usable(s))
        for name, share in zip(SPLITS, fractions, strict=True):
            slack = 2 * max(sizes.values(), default=0) + 1
            assert abs(counts[name] - share * sizes.total()) <= slack


def test_with_small_groups_labels_and_sources_are_spread_exactly() -> None:
    rng = random.Random(3)
    samples = make([(rng.choice(LABELS), rng.choice("ab"), rng.choice([1, 1, 1, 2, 3]), 0) for _ in range(2000)])
    split = by_group(samples, seed=1)
    for label in LABELS:
        for source in "ab":
            counts = Counter(s.split for s in split if (s.label, s.source) == (label, source))
            for name, share in zip(SPLITS, (0.7, 0.15, 0.15), strict=True):
                assert counts[name] / counts.total() == pytest.approx(share, abs=0.02)


def test_large_groups_do_not_all_train() -> None:
    samples = make([("glioma", "a", 10, 0)] * 20 + [("glioma", "a", 1, 0)] * 200)
    for seed in range(5):
        split = by_group(samples, seed=seed)
        sizes = Counter(s.group for s in samples)
        large = Counter(s.split for s in split if sizes[s.group] == 10)
        assert all(large[name] >= 10 for name in SPLITS)
        assert Counter(s.split for s in split) == {"train": 280, "val": 60, "test": 60}


def test_a_group_larger_than_a_share_trains() -> None:
    samples = make([("glioma", "a", 30, 0)] + [("glioma", "a", 1, 0)] * 70)
    for seed in range(20):
        split = by_group(samples, seed=seed)
        assert split[0].split == "train"
        assert Counter(s.split for s in split) == {"train": 70, "val": 15, "test": 15}


def test_where_the_largest_group_goes_is_drawn_by_the_shares() -> None:
    samples = make([("glioma", "a", 10, 0)] + [("glioma", "a", 1, 0)] * 190)
    homes = Counter(by_group(samples, fractions=(0.5, 0.4, 0.1), seed=seed)[0].split for seed in range(100))
    assert homes["train"] == pytest.approx(50, abs=15)
    assert homes["val"] == pytest.approx(40, abs=15)
    assert homes["test"] == pytest.approx(10, abs=9)


def test_seeds_differ() -> None:
    samples = make([("glioma", "a", 2, 0)] * 30)
    assert by_group(samples, seed=0) != by_group(samples, seed=1)


def test_copies_and_conflicts_do_not_count_but_follow_their_group() -> None:
    samples = make([("glioma", "a", 1, 9)] * 20)
    split = by_group(samples, fractions=(0.5, 0.25, 0.25))
    assert Counter(s.split for s in split) == {"train": 100, "val": 50, "test": 50}
    doubtful = [replace(s, conflict=True) for s in samples]
    assert {s.split for s in by_group(doubtful)} == {"train"}


def test_tumours_of_unknown_kind_stay_outside_where_kinds_are_told_apart() -> None:
    four = make([(label, "a", 1, 0) for label in LABELS for _ in range(5)])
    unknown = [Sample("/x/1.png", "tumor", "x", "lonely"), Sample("/x/2.png", "tumor", "x", four[0].group)]
    split = by_group([*four, *unknown])
    assert [s.split for s in split[-2:]] == ["external", ""]
    assert split[:-2] == by_group(four)


def test_binary_sets_are_split_as_they_are() -> None:
    samples = make([("tumor", "a", 1, 0), ("no_tumor", "a", 1, 0)] * 20)
    assert {(s.label, s.split) for s in by_group(samples)} == {(x, y) for x in ("tumor", "no_tumor") for y in SPLITS}


@pytest.mark.parametrize("function", [by_group, keep_test, partial(hold_out, source="a")])
def test_groups_are_needed(function: Callable[[Sequence[Sample]], list[Sample]]) -> None:
    with pytest.raises(UsageError, match=r"'/a\.png' has no near-duplicate group"):
        function([Sample("/a.png", "glioma", split="test")])


@given(**CASES, own=st.lists(st.sampled_from(["train", "val", "test", "external", ""]), min_size=30, max_size=30))
def test_a_published_test_split_stays_and_what_repeats_it_is_not_trained_on(
    samples: list[Sample], fractions: Fractions, seed: int, own: list[str]
) -> None:
    published = [replace(s, split=own[k % len(own)]) for k, s in enumerate(samples)]
    try:
        split = keep_test(published, fractions=fractions, seed=seed)
    except UsageError:
        groups = {s.group for s in published}
        judged = {s.group for s in published if s.split in ("val", "test", "external")}
        assert judged == groups or not any(s.split == "test" for s in published)
        return
    check_apart(split)
    assert [replace(s, split="", copy_of="") for s in split] == [replace(s, copy_of="") for s in samples]
    check_judged(split, samples)
    assert [s.split == "test" for s in split] == [s.split == "test" for s in published]
    judging = {s.group for s in published if s.split in ("val", "test", "external")}
    assert {s.group for s in split if s.split == "train"}.isdisjoint(judging)
    free = [s for s in split if s.group not in judging]
    assert {s.split for s in free} <= {"train", "val"}
    if any(s.split == "val" and s.group in judging for s in split):
        assert {s.split for s in free} == {"train"}


def check_judged(split: Sequence[Sample], samples: Sequence[Sample]) -> None:
    """Every scan that judges counts, itself or as the one of its split that it repeats."""
    after = {s.path: s for s in split}
    for before, s in zip(samples, split, strict=True):
        if s.split not in ("val", "test", "external"):
            assert s.copy_of == before.copy_of
            continue
        assert not s.copy_of or before.copy_of
        kept = after[s.copy_of or s.path]
        assert (kept.split, kept.copy_of) == (s.split, "")
        assert kept.group == s.group


def test_a_judging_scan_counts_where_its_larger_copy_does_not_judge() -> None:
    def copies(group: str, *splits: str) -> list[Sample]:
        paths = [f"/{group}/{k}-{split}.png" for k, split in enumerate(splits)]
        return [
            Sample(path, "glioma", group=group, split=split, copy_of=paths[0] if k else "")
            for k, (path, split) in enumerate(zip(paths, splits, strict=True))
        ]

    free = make([("glioma", "a", 1, 0)] * 9)
    for order in (1, -1):
        samples = [
            *copies("a", "train", "test"),
            *copies("b", "train", "test", "test", "val"),
            *copies("c", "val", "val", "train"),
            *copies("d", "test", "test", "train"),
            *copies("e", "train", "val", "val"),
            *free,
        ][::order]
        split = {s.path: s for s in keep_test(samples)}
        assert {path: s.copy_of for path, s in split.items() if s.split in ("val", "test") and s.group > "9"} == {
            "/a/1-test.png": "",
            "/b/1-test.png": "",
            "/b/2-test.png": "/b/1-test.png",
            "/c/0-val.png": "",
            "/c/1-val.png": "/c/0-val.png",
            "/d/0-test.png": "",
            "/d/1-test.png": "/d/0-test.png",
            "/e/1-val.png": "",
            "/e/2-val.png": "/e/1-val.png",
        }
        assert sum(s.split == "test" and usable(s) for s in split.values()) == 3


def test_what_was_published_for_training_becomes_train_and_val() -> None:
    samples = make([("glioma", "a", 2, 0)] * 40)
    published = [replace(s, split="test" if k >= 59 else "train") for k, s in enumerate(samples)]
    split = keep_test(published, fractions=(0.64, 0.16, 0.2))
    assert split[58].split == ""  # its neighbour is in test
    assert Counter(s.split for s in split) == {"train": 46, "val": 12, "": 1, "test": 21}


def test_tumours_of_unknown_kind_do_not_judge_where_a_test_split_is_kept() -> None:
    four = [
        replace(s, split="test" if k % 5 == 0 else "train") for k, s in enumerate(make([("glioma", "a", 1, 0)] * 20))
    ]
    unknown = [Sample("/x/1.png", "tumor", "x", "lonely", "test"), Sample("/x/2.png", "tumor", "x", four[0].group)]
    split = keep_test([*four, *unknown])
    assert [s.split for s in split[-2:]] == ["external", ""]
    assert split[:-2] == keep_test(four)


@pytest.mark.parametrize(
    ("splits", "message"),
    [(("train", ""), "the data has none"), (("train", "val"), "the data has none"), (("test", "val"), "every group")],
)
def test_a_test_split_that_cannot_be_kept(splits: tuple[str, str], message: str) -> None:
    samples = [Sample(f"/{k}.png", "glioma", group=str(k), split=split) for k, split in enumerate(splits)]
    with pytest.raises(UsageError, match=f"cannot be kept: {message}"):
        keep_test(samples)


@pytest.mark.parametrize("fractions", [(0.7, 0.2, 0.2), (0.0, 0.5, 0.4), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)])
def test_fractions_that_make_no_sense(fractions: Fractions) -> None:
    with pytest.raises(UsageError, match="no shares"):
        by_group(make([("glioma", "a", 1, 0)]), fractions=fractions)


def test_splits_that_only_calibrate_and_judge_train_nothing() -> None:
    split = by_group(make([("glioma", str(k), 1, 0) for k in range(10)]), fractions=(0.0, 0.5, 0.5))
    assert Counter(sample.split for sample in split) == {"val": 5, "test": 5}


def test_what_is_not_kept_must_go_somewhere() -> None:
    samples = [Sample(f"/{k}.png", "glioma", group=str(k), split=split) for k, split in enumerate(("train", "test"))]
    with pytest.raises(UsageError, match="leave nothing to them"):
        keep_test(samples, fractions=(0.0, 0.0, 1.0))


def test_a_held_out_source_takes_its_groups_along() -> None:
    samples = [
        Sample(f"{source}{k}.png", label, source=source, group=group)
        for k in range(40)
        for source, label, group in (
            ("a", "glioma", f"both{k}" if k < 5 else f"a{k}"),
            ("a", "no_tumor", f"clear{k}"),
            ("b", "glioma", f"both{k}" if k < 5 else f"b{k}"),
        )
    ]
    split = hold_out(samples, "b", fractions=(0.6, 0.2, 0.2))
    judged = {s.group for s in split if s.split == "test"}
    assert judged == {s.group for s in samples if s.source == "b"}
    rest = [s for s in split if s.group not in judged]
    assert {s.split for s in rest} == {"train", "val"}
    assert sum(s.split == "val" for s in rest) == pytest.approx(len(rest) / 4, abs=3)


def test_a_source_that_cannot_be_held_out_is_refused() -> None:
    samples = [Sample("a.png", "glioma", source="a", group="g"), Sample("b.png", "glioma", source="b", group="g")]
    with pytest.raises(UsageError, match="no such source; known: a, b"):
        hold_out(samples, "c")
    with pytest.raises(UsageError, match="every group has an image of it"):
        hold_out(samples, "b")


def labelled(*labels: str) -> list[Sample]:
    return [Sample(f"{label}-{split}.png", label, split=split) for label in labels for split in (*SPLITS, "external")]


def test_scans_of_some_tumour_may_teach_where_kinds_are_told_apart_but_not_judge() -> None:
    samples = labelled("glioma", "no_tumor", "tumor", "not_brain_mri")
    together = one_vocabulary(samples)
    assert [replace(s, split="") for s in together] == [replace(s, split="") for s in samples]
    assert [s.split for s in together if s.label == "tumor"] == ["train", "external", "external", "external"]
    assert [s for s in together if s.label != "tumor"] == [s for s in samples if s.label != "tumor"]


def test_where_tumour_is_a_label_of_its_own_it_judges() -> None:
    for samples in (labelled("no_tumor", "tumor"), labelled("no_tumor", "tumor", "not_brain_mri"), labelled("tumor")):
        assert one_vocabulary(samples) == samples
