"""What a run is given keeps its labels, whatever the recipe makes of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgebrain.asked import as_asked
from edgebrain.cli.run_compare import CompareRequest, run_compare
from edgebrain.labelled import Sample, read_labelled, write_samples
from edgebrain.train.commands import TrainRequest, run_train
from edgebrain.train.data import digest
from edgebrain.train.given import from_data, from_splits
from edgebrain.train.run_all import run_all

BINARY = ("no_tumor", "tumor")
TINY_BINARY = (
    *("input.width=32", "input.height=32", "data.canvas=32", "cnn.filters=[4, 4, 4]", "cnn.dense=[4]"),
    *("trainer.epochs=1", "trainer.batch_size=8", "trainer.workers=0", "trainer.precision=32-true"),
)
FOUR = {"glioma": 8, "meningioma": 8, "no_tumor": 8, "pituitary": 8}


def labels_of(path: Path) -> Counter[str]:
    return Counter(sample.label for sample in read_labelled(path))


def test_a_binary_run_keeps_the_labels_it_was_given_and_everything_agrees(
    phantoms: Sequence[Sample], manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs" / "cnn3-binary"
    request = TrainRequest("cnn3-binary", overrides=TINY_BINARY, splits=(manifest,), output=folder, threads=1)
    assert run_train(request) == 0
    assert labels_of(folder / "splits.csv") == FOUR
    figures = json.loads((folder / "metrics.json").read_text())
    # The digest is that of the labels as they were asked for, as in runs and bundles made before.
    assert figures["data_sha256"] == digest(as_asked(phantoms, BINARY)) == digest(phantoms, BINARY)
    assert figures["other_labels"] == {}

    for source in ({"splits": (manifest,)}, {"splits": ()}):  # given again, or those of the run
        assert run_train(replace(request, resume=True, **source)) == 0
    assert labels_of(folder / "splits.csv") == FOUR
    assert run_all(replace(request, recipe="all", output=tmp_path / "runs"), "cnn3-binary") == 0
    assert run_compare(CompareRequest((folder,), tmp_path / "report", trained_only=True, threads=1)) == 0
    (row,) = json.loads((tmp_path / "report" / "comparison.json").read_text())["rows"]
    assert (row["scans"], row["labels"]) == (8, list(BINARY))
    own = figures["evaluation"]["test"]
    assert row["figures"] == {name: own[name] for name in row["figures"]}  # with the same intervals
    assert row["recall"] == own["recall"]
    assert "finished before" in " ".join(capsys.readouterr().out.split())


def test_scans_of_some_tumour_are_split_for_a_binary_recipe_and_keep_their_label(
    phantoms: Sequence[Sample], tmp_path: Path
) -> None:
    some = [replace(s, label="tumor") if s.label == "pituitary" else s for s in phantoms]
    write_samples(tmp_path / "some.csv", some)
    counts = {**FOUR, "tumor": 8}
    del counts["pituitary"]
    for samples in (
        from_splits([tmp_path / "some.csv"], BINARY).samples,
        from_data([tmp_path / "some.csv"], BINARY, seed=0).samples,
    ):
        assert Counter(s.label for s in samples) == counts
        assert {s.split for s in samples} == {"train", "val", "test"}
    # A recipe that tells kinds apart cannot count them.
    judged = from_splits([tmp_path / "some.csv"], ("glioma", "meningioma", "no_tumor")).samples
    assert {s.split for s in judged if s.label == "tumor"} == {"train", "external"}


def test_files_that_the_audit_could_not_read_stay_in_the_figures_of_a_run_that_goes_on(
    phantoms: Sequence[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "patient Smith").mkdir()
    broken = tmp_path / "patient Smith" / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    write_samples(tmp_path / "all.csv", [*phantoms, Sample(str(broken), "glioma")])
    folder = tmp_path / "run"
    request = TrainRequest("cnn3-binary", overrides=TINY_BINARY, data=(tmp_path / "all.csv",), output=folder, threads=1)
    again = replace(request, resume=True)
    as_our_error_says = replace(again, data=(), splits=(folder / "splits.csv",))
    for one in (request, again, as_our_error_says, again):
        capsys.readouterr()
        assert run_train(one) == 0
        said = [line for line in capsys.readouterr().err.splitlines() if "--data is not read again" in line]
        assert len(said) == (one is again)
        text = (folder / "metrics.json").read_text()
        assert json.loads(text)["unreadable"] == {"count": 1, "files": ["broken.png"]}
        assert "Smith" not in text
    assert len(read_labelled(folder / "splits.csv")) == len(phantoms)
