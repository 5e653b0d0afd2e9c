from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import edgebrain
from edgebrain.cli.run_compare import CompareRequest, run_compare
from edgebrain.errors import UsageError
from edgebrain.labelled import Sample, write_samples
from edgebrain.train.assess import assess_run
from edgebrain.train.config import Recipe, load_recipe, recipe_names
from edgebrain.train.models import build, save_model

BUNDLE = Path(edgebrain.__file__).parent / "bundles" / "edge"


def make_run(folder: Path, recipe: Recipe, samples: Sequence[Sample], *, seed: int = 0) -> Path:
    """A run folder as training leaves it, of a network that has learnt nothing."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    net = build(recipe)
    facts = {
        "parameters": sum(p.numel() for p in net.parameters()),
        "training_seconds": 90.0,
        "best_epoch": 1,
        "splits": {"val": {"temperature": 2.0}},
    }
    save_model(folder / "model.safetensors", net.state_dict(), recipe, facts)
    write_samples(folder / "splits.csv", samples)
    return folder


@pytest.fixture
def plain(tiny_sets: Sequence[str]) -> Recipe:
    return load_recipe("edge", [*tiny_sets, "data.outliers=0"])


@pytest.fixture
def copied(phantoms: Sequence[Sample]) -> list[Sample]:
    """The phantoms, one of the scans to test with twice."""
    test = next(s for s in phantoms if s.split == "test")
    return [*phantoms, replace(test, copy_of=test.path)]


def test_a_run_answers_for_its_own_test_scans_each_once(plain: Recipe, copied: list[Sample], tmp_path: Path) -> None:
    answers = assess_run(make_run(tmp_path / "run", plain, copied), threads=1)
    assert len(answers.samples) == len(answers.tested) == 8
    assert {s.split for s in answers.samples} == {"test"}
    assert answers.probabilities.shape == (8, 4)
    assert answers.probabilities.sum(axis=1) == pytest.approx(1.0)
    assert answers.negative == "no_tumor"
    # The command gives the recipe again, whatever was set.
    words = shlex.split(answers.command)
    sets = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert words[:3] == ["edgebrain", "train", "edge"]
    assert load_recipe("edge", sets) == plain


def test_runs_bundles_and_untrained_recipes_in_one_table(
    plain: Recipe, copied: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "runs" / "a", plain, copied)
    binary = load_recipe(
        "cnn3-binary", ["input.width=32", "input.height=32", "data.canvas=32", "cnn.filters=[4, 4, 4]", "cnn.dense=[4]"]
    )
    make_run(tmp_path / "runs" / "b", binary, copied, seed=1)
    (tmp_path / "runs" / "unfinished").mkdir()
    out = tmp_path / "out"
    assert run_compare(CompareRequest((BUNDLE, tmp_path / "runs"), out, threads=1)) == 0

    table = json.loads((out / "comparison.json").read_text())
    rows = {(row["name"].split()[0], row["kind"]): row for row in table["rows"]}
    assert {row["scans"] for row in table["rows"] if row["figures"]} == {8}
    assert len({row["test"] for row in table["rows"] if row["figures"]}) == 1
    for key in (("edge", "run"), ("cnn3-binary", "run"), ("edge", "bundle")):
        accuracy = rows[key]["figures"]["accuracy"]
        assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
        assert accuracy["method"] == "clustered wilson"
    assert rows["edge", "run"]["epochs"] == "best 2, at most 3"
    assert rows["edge", "run"]["parameters"] == sum(p.numel() for p in build(plain).parameters())
    assert set(rows["cnn3-binary", "run"]["recall"]) == set(binary.data.labels)
    figures = [row["figures"]["accuracy"]["value"] for row in table["rows"] if row["figures"]]
    assert figures == sorted(figures, reverse=True)

    untrained = {name for name, kind in rows if kind == "recipe"}
    assert untrained == set(recipe_names()) - {"edge", "cnn3-binary", "maml-glioma-meningioma"}
    assert rows["cnn-tuned", "recipe"]["command"].startswith("edgebrain train cnn-tuned --splits ")
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    for name in ("comparison.html", "comparison.md"):
        text = (out / name).read_text()
        assert "not trained here" in text
        assert "edgebrain train vgg19" in text
    printed = capsys.readouterr().out
    assert f"{100 * figures[0]:.1f}" in printed
    assert "not trained here: edgebrain train vgg19" in printed


def test_other_test_scans_are_refused_or_told(
    plain: Recipe, copied: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = make_run(tmp_path / "a", plain, copied)
    last = max(i for i, s in enumerate(copied) if s.split == "test" and not s.copy_of)
    other = make_run(tmp_path / "b", plain, [s for i, s in enumerate(copied) if i != last])
    with pytest.raises(UsageError, match=r"8 scans, .* on 7 others"):
        run_compare(CompareRequest((first, other), threads=1, trained_only=True))
    out = tmp_path / "out"
    run_compare(CompareRequest((first, other), out, allow_different=True, trained_only=True, threads=1))
    assert "2 test sets" in capsys.readouterr().out
    notes = [row["notes"][-1] for row in json.loads((out / "comparison.json").read_text())["rows"]]
    assert sorted(notes) == ["test set A", "test set B"]


def test_the_order_and_the_place_of_the_scans_do_not_matter(
    plain: Recipe, phantoms: Sequence[Sample], tmp_path: Path
) -> None:
    first = make_run(tmp_path / "a", plain, phantoms)
    other = make_run(tmp_path / "deeper" / "b", plain, phantoms[::-1])
    assert run_compare(CompareRequest((first, other), trained_only=True, threads=1)) == 0


def test_wrong_calls(plain: Recipe, phantoms: Sequence[Sample], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, message in ((tmp_path / "none", "is no folder"), (tmp_path / "empty", "holds no finished run")):
        with pytest.raises(UsageError, match=message):
            run_compare(CompareRequest((path,)))
    with pytest.raises(UsageError, match="--splits CSV"):
        run_compare(CompareRequest((BUNDLE,), threads=1))
    run = make_run(tmp_path / "run", plain, phantoms)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        run_compare(CompareRequest((run,), tmp_path / "file", threads=1))


def test_a_meta_learned_run_is_left_out(
    plain: Recipe, copied: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "runs" / "edge", plain, copied)
    changes = ["cnn.filters=[4,4,4]", "cnn.dense=[8]"]
    maml = make_run(tmp_path / "runs" / "maml", load_recipe("maml-glioma-meningioma", changes), copied)
    assert run_compare(CompareRequest((tmp_path / "runs",), trained_only=True, threads=1)) == 0
    said = capsys.readouterr()
    assert f"left out: {maml} is meta-learned" in said.err
    assert "maml" not in said.out
    with pytest.raises(UsageError, match="nothing to compare"):
        run_compare(CompareRequest((maml,), threads=1))
