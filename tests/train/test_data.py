from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from edgebrain.errors import TrainingError
from edgebrain.labelled import Sample
from edgebrain.train.audit import audit
from edgebrain.train.config import AugmentConfig, DataConfig
from edgebrain.train.data import BalancedSampler, Draw, PreparedSet, ScanDataset, digest, prepare_samples, select
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
    assert [name in reason for name, reason in zip(("gone.png", "text.png"), prepared.unreadable, strict=True)] == [
        True,
        True,
    ]
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


def targets(*counts: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.repeat(np.arange(len(counts)), counts).astype(np.int64)


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    balance=st.floats(0.05, 1.0),
    seed=st.integers(0, 1000),
    epoch=st.integers(0, 500),
)
def test_every_sample_is_drawn_as_often_as_expected(counts: list[int], balance: float, seed: int, epoch: int) -> None:
    sampler = BalancedSampler(targets(*counts), balance, seed)
    sampler.set_epoch(epoch)
    drawn = Counter(draw.sample for draw in sampler)
    assert sum(drawn.values()) == len(sampler) == sum(counts)
    for sample, weight in enumerate(sampler.weights):
        assert abs(drawn[sample] - weight * len(sampler)) < 1 + 1e-6


def test_full_balance_makes_classes_equal() -> None:
    sampler = BalancedSampler(targets(10, 30, 60), 1.0, 0)
    drawn = Counter(int(targets(10, 30, 60)[draw.sample]) for draw in sampler)
    assert all(abs(count - 100 / 3) < 2 for count in drawn.values())


def test_without_balance_every_sample_is_drawn_once() -> None:
    sampler = BalancedSampler(targets(3, 20), 0, 0)
    assert sorted(draw.sample for draw in sampler) == list(range(23))


@pytest.mark.parametrize("balance", [0, 0.7])
def test_an_epoch_is_drawn_from_its_number_alone(balance: float) -> None:
    first = BalancedSampler(targets(10, 30), balance, 5)
    epochs = []
    for epoch in range(3):
        first.set_epoch(epoch)
        epochs.append(list(first))
    later = BalancedSampler(targets(10, 30), balance, 5)
    later.set_epoch(2)
    assert list(later) == epochs[2]
    assert epochs[0] != epochs[1]
    assert {draw.epoch for draw in epochs[2]} == {2}
    assert list(BalancedSampler(targets(10, 30), balance, 6)) != epochs[0]


@pytest.fixture(scope="module")
def prepared(phantoms: Samples) -> PreparedSet:
    return prepare_samples(phantoms[:8], LABELS, SPEC, 72)


def epochs_of(prepared: PreparedSet, workers: int, epochs: Sequence[int]) -> list[torch.Tensor]:
    sampler = BalancedSampler(prepared.targets, 0.5, 0)
    dataset = ScanDataset(prepared, SPEC, AugmentConfig(), seed=0)
    loader = DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=workers)
    images = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        images.append(torch.cat([batch[0] for batch in loader]))
    return images


def test_workers_and_resuming_draw_the_same(prepared: PreparedSet) -> None:
    torch.manual_seed(0)
    here = epochs_of(prepared, 0, [0, 1])
    torch.manual_seed(1)
    worker = epochs_of(prepared, 1, [0, 1])
    for one, other in zip(here, worker, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(epochs_of(prepared, 0, [1])[0], here[1])
    assert not torch.equal(here[0], here[1])


def test_a_draw_has_its_own_changes_and_evaluation_has_none(prepared: PreparedSet) -> None:
    dataset = ScanDataset(prepared, SPEC, AugmentConfig(), seed=0)
    one, target = dataset[Draw(3, 2)]
    assert (one.dtype, tuple(one.shape), target) == (torch.uint8, (1, 48, 64), prepared.targets[2])
    assert torch.equal(one, dataset[Draw(3, 2)][0])
    assert not torch.equal(one, dataset[Draw(4, 2)][0])
    plain = ScanDataset(prepared, SPEC)
    assert len(plain) == 8
    assert np.array_equal(plain[2][0][0].numpy(), prepared.images[2])
