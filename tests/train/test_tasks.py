from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebrain.asked import as_asked
from edgebrain.errors import TrainingError
from edgebrain.labelled import Sample, read_labelled
from edgebrain.train.config import DataConfig, load_recipe
from edgebrain.train.data import prepare_samples, select
from edgebrain.train.fit import fit
from edgebrain.train.tasks import capped, check_classes, left_out, with_more_training, without_rare
from edgebrain.types import InputSpec

Samples = tuple[Sample, ...]
BINARY = ("no_tumor", "tumor")


def of(**counts: int) -> list[Sample]:
    return [Sample(f"{label}{i}.png", label, split="train") for label, n in counts.items() for i in range(n)]


def test_for_a_binary_recipe_every_tumour_is_a_tumour() -> None:
    samples = of(glioma=1, no_tumor=1, meningioma=1, pituitary=1, tumor=1, not_brain_mri=1)
    asked = as_asked(samples, BINARY)
    assert [s.label for s in asked] == ["tumor", "no_tumor", "tumor", "tumor", "tumor", "not_brain_mri"]
    assert [s.path for s in asked] == [s.path for s in samples]
    assert as_asked(asked, BINARY) == asked
    assert as_asked(samples, ("glioma", "meningioma")) == samples
    assert (
        left_out(asked, DataConfig(labels=BINARY))
        == left_out(samples, DataConfig(labels=BINARY))
        == {"not_brain_mri": 1}
    )


def test_a_binary_recipe_trains_on_four_classes(phantoms: Samples, tiny_sets: Sequence[str], tmp_path: Path) -> None:
    sets = [*tiny_sets, "trainer.epochs=1", 'data.labels=["no_tumor", "tumor"]', "model.labels=2"]
    some = replace(phantoms[0], label="tumor")
    run = fit(load_recipe("edge-base", sets), [some, *phantoms[1:]], tmp_path / "run", threads=1)
    assert sum(map(sum, run.metrics["splits"]["test"]["confusion"])) == 8
    assert set(run.metrics["splits"]["test"]["recall"]) == set(BINARY)
    assert run.metrics["other_labels"] == {}
    kinds = {"glioma": 7, "meningioma": 8, "no_tumor": 8, "pituitary": 8, "tumor": 1}  # as they were given
    assert Counter(s.label for s in read_labelled(run.folder / "splits.csv")) == kinds


def test_two_labels_leave_the_others_out_and_count_them(phantoms: Samples) -> None:
    config = DataConfig(labels=("glioma", "meningioma"))
    chosen = select(phantoms, "train", config)
    assert Counter(s.label for s in chosen) == {"glioma": 4, "meningioma": 4}
    assert left_out(phantoms, config) == {"no_tumor": 8, "pituitary": 8}
    assert set(prepare_samples(chosen, config.labels, InputSpec(width=32, height=32), None).targets.tolist()) == {0, 1}


def test_rare_labels_go_and_the_order_stays() -> None:
    recipe = load_recipe("edge", ["data.rare_below=3"])
    samples = [*of(pituitary=3, glioma=2, meningioma=5, no_tumor=4), Sample("c.png", "glioma", copy_of="glioma0.png")]
    assert without_rare(recipe, samples).data.labels == ("meningioma", "no_tumor", "pituitary")
    assert without_rare(load_recipe("edge"), samples) == load_recipe("edge")
    with pytest.raises(TrainingError, match=r"Fewer than two labels have 3 scans: glioma 9, meningioma 1.*rare_below"):
        without_rare(recipe, of(glioma=9, meningioma=1))


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4), most=st.integers(1, 12), single=st.integers(0, 3))
def test_a_patient_has_at_most_so_many_slices_evenly_spaced(sizes: list[int], most: int, single: int) -> None:
    samples = [Sample(f"{p}-{i}", "glioma", group=f"p{p}") for p, size in enumerate(sizes) for i in range(size)]
    samples += [Sample(f"s{i}", "glioma") for i in range(single)]
    kept = capped(samples, most)
    assert kept == [s for s in samples if s in kept]
    counts = Counter(s.group for s in kept)
    assert counts == Counter({f"p{p}": min(size, most) for p, size in enumerate(sizes)}) + Counter({"": single})
    for p, size in enumerate(sizes):
        places = [int(s.path.split("-")[1]) for s in kept if s.group == f"p{p}"]
        gaps = {b - a for a, b in itertools.pairwise(places)}
        assert max(gaps, default=0) - min(gaps, default=0) <= 1
        assert most == 1 or (places[0], places[-1]) == (0, size - 1)


def test_only_training_is_capped() -> None:
    config = msgspec.structs.replace(DataConfig(labels=("glioma", "no_tumor")), cap_per_group=2)
    train = [replace(s, group=s.label) for s in of(glioma=5, no_tumor=5)]
    assert len(select(train, "train", config)) == 4
    assert len(select([replace(s, split="val") for s in train], "val", config)) == 10


def test_data_without_a_class_is_refused_by_its_name() -> None:
    check_classes(of(glioma=1, no_tumor=2), ("glioma", "no_tumor"))
    with pytest.raises(TrainingError, match=r"no scan of: meningioma, no_tumor\. It has: glioma 3\."):
        check_classes(of(glioma=3), ("glioma", "meningioma", "no_tumor"))


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=40), share=st.floats(0.0, 0.99))
def test_whole_groups_of_val_are_trained_on_the_same_ones_at_every_start(sizes: list[int], share: float) -> None:
    val = [Sample(f"{g}-{i}.png", "glioma", group=f"g{g}", split="val") for g, n in enumerate(sizes) for i in range(n)]
    others = [Sample(f"{split}.png", "glioma", group=split, split=split) for split in ("train", "test", "external")]
    moved = with_more_training([*val, *others], share)
    assert moved[len(val) :] == others
    splits = {s.group: {t.split for t in moved if t.group == s.group} for s in val}
    assert all(found in ({"train"}, {"val"}) for found in splits.values())
    assert with_more_training(moved, share) == moved
    assert any(s.split == "val" for s in moved)


def test_a_label_that_val_would_lose_keeps_all_its_groups() -> None:
    many = [Sample(f"{i}.png", "glioma", group=f"g{i}", split="val") for i in range(50)]
    few = [Sample(f"few{i}.png", "no_tumor", group=f"few{i}", split="val") for i in range(2)]
    moved = with_more_training([*many, *few], 0.999999)
    assert [s.split for s in moved[50:]] == ["val", "val"]
    assert with_more_training(many[:1], 0.999999) == many[:1]
    half = with_more_training([*many, *few], 0.5)
    assert 10 < sum(s.split == "train" for s in half[:50]) < 40


def test_the_share_of_val_that_is_trained_on_is_the_one_asked_for() -> None:
    val = [Sample(f"{g}.png", "glioma", group=f"g{g}", split="val") for g in range(1000)]
    assert 550 < sum(s.split == "train" for s in with_more_training(val, 0.6)) < 650
    assert with_more_training(val, 0.0) == val


def test_scans_without_a_group_go_by_source_and_file_name_wherever_they_lie() -> None:
    here = [Sample(f"data/{i}.png", "glioma", source="ours", split="val") for i in range(40)]
    there = [replace(s, path=f"/elsewhere/{s.path}") for s in here]
    splits = [s.split for s in with_more_training(here, 0.6)]
    assert set(splits) == {"train", "val"}
    assert [s.split for s in with_more_training(there, 0.6)] == splits


def test_copies_and_doubtful_labels_are_nothing_to_judge_with() -> None:
    names = [f"g{i}" for i in range(60)]
    alone = with_more_training([Sample(f"{n}.png", "glioma", group=n, split="val") for n in names], 0.6)
    staying = next(s.group for s in alone if s.split == "val")
    going = next(s.group for s in alone if s.split == "train")
    copy = Sample("copy.png", "no_tumor", group=staying, split="val", copy_of="elsewhere.png")
    whole = Sample("whole.png", "no_tumor", group=going, split="val")
    assert [s.split for s in with_more_training([*alone, copy, whole], 0.6)][-2:] == ["val", "val"]
