from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from edgebrain.errors import TrainingError
from edgebrain.labelled import Sample
from edgebrain.train.audit import audit
from edgebrain.train.config import AugmentConfig, DataConfig, Recipe
from edgebrain.train.data import Draw, MixedSampler, PreparedSet, ScanDataset, digest, prepare_samples, select
from edgebrain.train.objective import outlier_target, some_tumor_target
from edgebrain.types import InputSpec

Samples = tuple[Sample, ...]
SPEC = InputSpec(width=64, height=48)
LABELS = DataConfig().labels


def named(split: str, **values: str) -> list[Sample]:
    """One sample a class."""
    return [replace(Sample(f"{label}.png", label, split=split), **values) for label in LABELS]  # type: ignore[arg-type]


@pytest.mark.parametrize(("split", "kept"), [("train", 4), ("val", 4), ("test", 12)])
def test_copies_and_conflicts_are_left_out_of_all_but_test(split: str, kept: int) -> None:
    doubtful = [replace(s, conflict=True) for s in named(split)]
    samples = [*named(split), *named(split, copy_of="x.png"), *doubtful]
    assert len(select(samples, split, DataConfig())) == kept
    assert len(select(samples, split, DataConfig(drop_copies=False, drop_conflicts=False))) == 12


def test_only_the_split_and_the_labels_of_the_recipe_are_taken() -> None:
    samples = [*named("train"), *named("val"), Sample("t.png", "tumor", split="train"), Sample("u.png", "glioma")]
    assert select(samples, "train", DataConfig()) == named("train")


def test_a_missing_class_is_named() -> None:
    with pytest.raises(TrainingError, match="train split has no sample of: glioma, no_tumor"):
        select([s for s in named("train") if s.label in {"meningioma", "pituitary"}], "train", DataConfig())
    with pytest.raises(TrainingError, match="val split has no sample of: glioma"):
        select([replace(named("val")[0], copy_of="x"), *named("val")[1:]], "val", DataConfig())


def test_scans_are_prepared_in_order(phantoms: Samples) -> None:
    prepared = prepare_samples(phantoms, LABELS, SPEC, None)
    assert prepared.images.shape == (32, 48, 64)
    assert prepared.images.dtype == np.uint8
    assert [LABELS[t] for t in prepared.targets] == [s.label for s in phantoms]
    assert prepared.samples == phantoms
    assert prepared.unreadable == ()
    assert prepare_samples(phantoms[:2], LABELS, SPEC, 72).images.shape == (2, 72, 72)


def test_files_that_cannot_be_read_are_left_out_and_named(phantoms: Samples, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    bad = [Sample(str(tmp_path / name), "glioma") for name in ("gone.png", "text.png")]
    prepared = prepare_samples([bad[0], *phantoms[:3], bad[1]], LABELS, SPEC, None)
    assert prepared.samples == phantoms[:3]
    assert len(prepared.images) == len(prepared.targets) == 3
    assert [one.path for one in prepared.unreadable] == [sample.path for sample in bad]
    assert all(sample.path in one.message for sample, one in zip(bad, prepared.unreadable, strict=True))
    with pytest.raises(TrainingError, match="None of the scans could be read"):
        prepare_samples(bad, LABELS, SPEC, None)


def test_of_several_frames_the_middle_one_is_learnt_from_and_audited(phantoms: Samples, tmp_path: Path) -> None:
    frames = [cv2.imread(sample.path, cv2.IMREAD_GRAYSCALE) for sample in phantoms[:5]]
    path = str(tmp_path / "volume.tif")
    assert cv2.imwritemulti(path, [frame for frame in frames if frame is not None])
    prepared = prepare_samples([Sample(path, "glioma"), phantoms[2]], LABELS, SPEC, None)
    assert np.array_equal(prepared.images[0], prepared.images[1])
    audited = audit([Sample(path, "glioma"), *phantoms[:5]]).samples
    assert [{s.path, s.copy_of} for s in audited if path in (s.path, s.copy_of) and s.copy_of] == [
        {path, phantoms[2].path}
    ]


def test_the_digest_follows_what_is_trained_on_and_not_where_it_lies(phantoms: Samples) -> None:
    moved = [replace(s, path=f"/elsewhere/{Path(s.path).name}") for s in phantoms]
    assert digest(moved) == digest(phantoms)
    regrouped = [replace(s, group="another", copy_of="elsewhere") for s in phantoms]
    assert digest(regrouped) == digest(phantoms)
    assert digest(phantoms[::-1]) != digest(phantoms)
    assert digest(phantoms[1:]) != digest(phantoms)
    assert digest([replace(phantoms[0], label="pituitary"), *phantoms[1:]]) != digest(phantoms)
    assert digest([replace(phantoms[0], split="test"), *phantoms[1:]]) != digest(phantoms)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_what_has_no_label_of_the_model_only_teaches_and_only_if_asked_for(split: str) -> None:
    others = [Sample("t.png", "tumor", split=split), Sample("p.png", "not_brain_mri", split=split)]
    samples = [*named(split), *others]
    assert select(samples, split, DataConfig()) == named(split)
    some, pictures = DataConfig(some_tumor=0.1), DataConfig(outliers=0.1)
    assert select(samples, split, some) == named(split) + (others[:1] if split == "train" else [])
    assert select(samples, split, pictures) == named(split) + (others[1:] if split == "train" else [])


def test_targets_above_the_labels_stand_for_what_has_none(phantoms: Samples) -> None:
    samples = [
        replace(s, label=label) for s, label in zip(phantoms, ("no_tumor", "tumor", "not_brain_mri"), strict=False)
    ]
    assert prepare_samples(samples, LABELS, SPEC, None).targets.tolist() == [2, some_tumor_target(4), outlier_target(4)]
    # Where some tumour is a label of its own, it is one.
    binary = prepare_samples(samples, ("no_tumor", "tumor"), SPEC, None)
    assert binary.targets.tolist() == [0, 1, outlier_target(2)]


def made_of(*counts: int, pictures: Sequence[str] = (), some: int = 0) -> PreparedSet:
    """A set of empty scans: so many of each label, a picture from each source named, scans with some tumour."""
    k = len(counts)
    above = [outlier_target(k)] * len(pictures) + [some_tumor_target(k)] * some
    targets = np.array([*np.repeat(np.arange(k), counts), *above], np.int64)
    sources = [*["scans"] * sum(counts), *pictures, *["scans"] * some]
    samples = tuple(Sample(f"{i}.png", "", source=source) for i, source in enumerate(sources))
    return PreparedSet(np.zeros((len(targets), 16, 16), np.uint8), targets, samples, ())


def asks(labels: int, balance: float = 0.5, **shares: float) -> DataConfig:
    plain = DataConfig(labels=tuple("abcdefgh"[:labels]), balance=balance)
    return msgspec.structs.replace(plain, **shares)


@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    balance=st.floats(0.05, 1.0),
    seed=st.integers(0, 1000),
    epoch=st.integers(0, 500),
    outliers=st.sampled_from([0.0, 0.2]),
)
def test_every_scan_is_drawn_as_often_as_expected(
    counts: list[int], balance: float, seed: int, epoch: int, outliers: float
) -> None:
    prepared = made_of(*counts, pictures=["one"] * 3, some=2)
    sampler = MixedSampler(prepared, asks(len(counts), balance, outliers=outliers, some_tumor=0.1), seed)
    sampler.set_epoch(epoch)
    scans = sum(counts)
    drawn = Counter(draw.sample for draw in sampler if not draw.picture and draw.sample < scans)
    assert sum(drawn.values()) == scans
    weights = sampler.weights / sampler.weights.sum()
    assert weights.shape == (scans,)
    for sample, weight in enumerate(weights):
        assert weight * scans == pytest.approx(expected(counts, balance, int(prepared.targets[sample])))
        assert abs(drawn[sample] - weight * scans) < 1 + 1e-6


def expected(counts: list[int], balance: float, label: int) -> float:
    """How often an epoch should draw a scan of a label."""
    classes = [float(count) ** (1 - balance) for count in counts]
    return float(sum(counts) * classes[label] / sum(classes) / counts[label])


def test_full_balance_makes_classes_equal() -> None:
    prepared = made_of(10, 30, 60)
    drawn = Counter(int(prepared.targets[draw.sample]) for draw in MixedSampler(prepared, asks(3, 1.0), 0))
    assert all(abs(count - 100 / 3) < 2 for count in drawn.values())


def test_without_balance_every_scan_is_drawn_once() -> None:
    assert sorted(draw.sample for draw in MixedSampler(made_of(3, 20), asks(2, 0), 0)) == list(range(23))


@given(
    known=st.integers(2, 300),
    outliers=st.floats(0, 0.5),
    some_tumor=st.floats(0, 0.4),
    by_program=st.floats(0, 1),
    pictures=st.integers(0, 4),
    some=st.integers(0, 4),
    seed=st.integers(0, 100),
)
def test_the_others_have_the_share_that_was_asked_for(
    *, known: int, outliers: float, some_tumor: float, by_program: float, pictures: int, some: int, seed: int
) -> None:
    prepared = made_of(known - 1, 1, pictures=["one"] * pictures, some=some)
    sampler = MixedSampler(prepared, asks(2, outliers=outliers, some_tumor=some_tumor, drawn=by_program), seed)
    draws = list(sampler)
    assert len(draws) == len(sampler)
    assert sorted(draw.place for draw in draws) == list(range(len(draws)))
    made = [draw for draw in draws if draw.picture]
    kinds = Counter(int(prepared.targets[draw.sample]) for draw in draws if not draw.picture)
    assert kinds[0] + kinds[1] == known
    foreign = len(made) + kinds[outlier_target(2)]
    assert abs(foreign - outliers * len(draws)) <= 1
    assert abs(kinds[some_tumor_target(2)] - (some_tumor if some else 0) * len(draws)) <= 1
    assert abs(len(made) - (by_program if pictures else 1) * foreign) <= 0.5 + 1e-6
    # A drawn picture may need a scan to be made of.
    assert all(prepared.targets[draw.sample] < 2 for draw in made)


def test_a_source_with_many_pictures_counts_for_more_but_not_in_proportion() -> None:
    prepared = made_of(60, 60, pictures=["many"] * 100 + ["few"] * 4)
    sampler = MixedSampler(prepared, asks(2, outliers=0.5, drawn=0), 0)
    sources = Counter(prepared.samples[draw.sample].source for draw in sampler)
    assert sources["scans"] == 120
    assert abs(sources["many"] - 100) <= 1
    assert sources["many"] + sources["few"] == 120


@pytest.mark.parametrize("balance", [0, 0.7])
def test_an_epoch_is_drawn_from_its_number_alone(balance: float) -> None:
    def sampler(seed: int) -> MixedSampler:
        config = asks(2, balance, outliers=0.2, some_tumor=0.1)
        return MixedSampler(made_of(10, 30, pictures=["one"] * 5, some=3), config, seed)

    first = sampler(5)
    epochs = []
    for epoch in range(3):
        first.set_epoch(epoch)
        epochs.append(list(first))
    later = sampler(5)
    later.set_epoch(2)
    assert list(later) == epochs[2]
    assert epochs[0] != epochs[1]
    assert {draw.epoch for draw in epochs[2]} == {2}
    assert list(sampler(6)) != epochs[0]


@pytest.fixture(scope="module")
def prepared(phantoms: Samples) -> PreparedSet:
    """Two scans of every label, and two pictures."""
    chosen = [phantoms[8 * k + i] for k in range(4) for i in range(2)]
    return prepare_samples([*chosen, *(replace(s, label="not_brain_mri") for s in phantoms[2:4])], LABELS, SPEC, 72)


def epochs_of(prepared: PreparedSet, recipe: Recipe, workers: int, epochs: Sequence[int]) -> list[torch.Tensor]:
    sampler = MixedSampler(prepared, recipe.data, recipe.seed)
    dataset = ScanDataset(prepared, SPEC, recipe)
    loader = DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=workers)
    images = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        images.append(torch.cat([batch[0] for batch in loader]))
    return images


def test_workers_and_resuming_draw_the_same(prepared: PreparedSet, tiny: Recipe) -> None:
    torch.manual_seed(0)
    here = epochs_of(prepared, tiny, 0, [0, 1])
    torch.manual_seed(1)
    worker = epochs_of(prepared, tiny, 1, [0, 1])
    for one, other in zip(here, worker, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(epochs_of(prepared, tiny, 0, [1])[0], here[1])
    assert not torch.equal(here[0], here[1])


def test_a_draw_has_its_own_changes_and_evaluation_has_none(prepared: PreparedSet, tiny: Recipe) -> None:
    dataset = ScanDataset(prepared, SPEC, tiny)
    one, target = dataset[Draw(3, 5, 2)]
    assert (one.dtype, tuple(one.shape), target) == (torch.uint8, (1, 48, 64), prepared.targets[2])
    assert torch.equal(one, dataset[Draw(3, 5, 2)][0])
    assert not torch.equal(one, dataset[Draw(4, 5, 2)][0])
    assert not torch.equal(one, dataset[Draw(3, 6, 2)][0])
    plain = ScanDataset(prepared, SPEC)
    assert len(plain) == 10
    assert np.array_equal(plain[2][0][0].numpy(), prepared.images[2])


def with_lesions(recipe: Recipe, probability: float) -> Recipe:
    return msgspec.structs.replace(recipe, augment=AugmentConfig(lesion=probability))


def test_a_lesion_makes_of_a_scan_without_a_tumour_one_with_some(prepared: PreparedSet, tiny: Recipe) -> None:
    def targets(probability: float, *, picture: bool = False) -> list[int]:
        dataset = ScanDataset(prepared, SPEC, with_lesions(tiny, probability))
        return [dataset[Draw(0, i, i, picture)][1] for i in range(len(dataset))]

    assert targets(0.0) == prepared.targets.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert targets(1.0) == [0, 0, 1, 1, some_tumor_target(4), some_tumor_target(4), 3, 3, 4, 4]
    assert targets(1.0, picture=True) == [outlier_target(4)] * 10


def test_lesions_are_as_frequent_as_asked_for_and_can_be_seen(prepared: PreparedSet, tiny: Recipe) -> None:
    sometimes, never = (ScanDataset(prepared, SPEC, with_lesions(tiny, p)) for p in (0.3, 0.0))
    found = [sometimes[Draw(0, place, 4)][1] for place in range(200)]
    assert set(found) == {2, some_tumor_target(4)}
    assert 0.2 < np.mean([target != 2 for target in found]) < 0.4
    drawn = ScanDataset(prepared, SPEC, with_lesions(tiny, 1.0))
    assert not torch.equal(drawn[Draw(0, 0, 4)][0], never[Draw(0, 0, 4)][0])


def test_a_scan_that_shows_no_head_keeps_its_label(tiny: Recipe) -> None:
    empty = PreparedSet(np.zeros((1, 72, 72), np.uint8), np.array([2], np.int64), (Sample("a.png", "no_tumor"),), ())
    assert ScanDataset(empty, SPEC, with_lesions(tiny, 1.0))[Draw(0, 0, 0)][1] == 2


def test_some_pictures_lie_in_an_oval_and_scans_never_do(tiny: Recipe) -> None:
    strengths = (name for name in AugmentConfig.__struct_fields__ if not name.startswith(("calm", "style", "mixing")))
    still = msgspec.structs.replace(tiny, augment=msgspec.convert(dict.fromkeys(strengths, 0.0), AugmentConfig))
    white = np.full((2, 72, 72), 255, np.uint8)
    samples = (Sample("a.png", "not_brain_mri"), Sample("b.png", "glioma"))
    dataset = ScanDataset(PreparedSet(white, np.array([4, 0], np.int64), samples, ()), SPEC, still)
    black = [[int(dataset[Draw(0, place, i)][0].min()) == 0 for place in range(200)] for i in range(2)]
    assert 0.15 < np.mean(black[0]) < 0.35
    assert not any(black[1])
