from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgebrain.errors import EdgebrainError, UsageError
from edgebrain.labelled import Sample, read_labelled, write_samples
from edgebrain.train.config import load_recipe, search_space, with_values

Call = Callable[..., int]
SPACE = (
    "search.optimizer.lr={low=1e-4, high=1e-2, log=true}",
    "search.model.widths={choices=[[8, 16], [8, 8]]}",
    "data.outliers=0",
)


def words(sets: Sequence[str]) -> list[str]:
    return [word for item in (*sets, *SPACE) if "epochs" not in item for word in ("--set", item)]


def test_a_search_ends_with_a_recipe_that_trains(
    call: Call, manifest: Path, tiny_sets: Sequence[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "s"
    options = ("--output", folder, "--epochs", 2, "--seed", 1, "--threads", 1, *words(tiny_sets))
    assert call("tune", "edge", "--trials", 2, "--splits", manifest, *options) == 0

    study = json.loads((folder / "study.json").read_text())
    figures = [trial["value"] for trial in study["trials"]]
    assert study["counts"]["complete"] == 2
    assert study["best"]["value"] == min(figures)
    assert set(study["best"]["recall"]) == {"glioma", "meningioma", "no_tumor", "pituitary"}
    assert (folder / "history.png").read_bytes().startswith(b"\x89PNG")
    captured = capsys.readouterr()
    assert "recall glioma" in captured.out
    assert f"{min(figures):.4f}" in captured.out
    assert "2/2 trials" in captured.err

    # Of each trial two small files stay, and the value is of the epoch that training would keep.
    for trial in study["trials"]:
        left = folder / "trials" / f"{trial['trial']:04d}"
        assert sorted(path.name for path in left.iterdir()) == ["metrics.csv", "trial.json"]
        with (left / "metrics.csv").open() as file:
            losses = [float(row["val/loss"]) for row in csv.DictReader(file)]
        assert len(losses) == 2
        assert trial["value"] == pytest.approx(min(losses))
        assert trial["best_epoch"] == losses.index(min(losses))
    assert [path.name for path in (folder / "trials").iterdir() if path.name.endswith(".partial")] == []

    # The best recipe is the recipe with the best trial's values, whole.
    recipe = load_recipe("edge", [*tiny_sets, *SPACE, "trainer.epochs=2", "seed=1"])
    best = load_recipe(str(folder / "best.toml"))
    assert search_space(best) == search_space(recipe)
    assert with_values(best, {}, "best") == with_values(recipe, study["best"]["values"], "best")

    # Training it gives what the trial had; the scans to test with come in only now.
    run = folder.parent / "run"
    arguments = ("--splits", folder / "splits.csv", "--output", run, "--threads", 1)
    assert call("train", folder / "best.toml", *arguments) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["splits"]["val"]["recall"] == study["best"]["recall"]
    assert "test" in metrics["splits"]
    assert len(read_labelled(folder / "splits.csv", split="test")) == 8

    # The same call has nothing left to do; more trials go on; anything else is not the same search.
    assert call("tune", "edge", "--trials", 2, *options) == 0
    assert json.loads((folder / "study.json").read_text())["trials"] == study["trials"]
    with pytest.raises(UsageError, match="another recipe"):
        call("tune", "edge", "--trials", 3, *options, "--set", "optimizer.clip=1")
    with pytest.raises(UsageError, match="another objective"):
        call("tune", "edge", "--trials", 3, *options, "--objective", "macro_f1")
    changed = [Sample(s.path, "glioma", split=s.split) if i == 9 else s for i, s in enumerate(read_labelled(manifest))]
    write_samples(manifest, changed)
    with pytest.raises(UsageError, match="another data"):
        call("tune", "edge", "--trials", 3, "--splits", manifest, *options)


def test_one_search_by_f1_that_is_given_up_where_it_diverges(
    call: Call, manifest: Path, tiny_sets: Sequence[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "s"
    sets = words([*tiny_sets, "optimizer.clip=0", "optimizer.name=sgd", "optimizer.ema_decay=0"])
    sets += ["--set", "search.optimizer.lr={low=1e30, high=1e31}"]
    options = ("--output", folder, "--epochs", 2, "--threads", 1, "--objective", "macro_f1", *sets)
    assert call("tune", "edge", "--trials", 1, "--splits", manifest, *options) == 0
    study = json.loads((folder / "study.json").read_text())
    assert (study["direction"], study["best"], study["counts"]["pruned"]) == ("maximize", None, 1)
    assert study["trials"][0]["diverged"] is True
    assert not (folder / "best.toml").exists()
    captured = capsys.readouterr()
    assert "no best recipe yet" in captured.out
    assert "it diverged" in captured.err
    assert list((folder / "trials").glob("*.partial")) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("edge", "--data", "a"), r"no \[search\] table"),
        (("edge", "--set", "search.optimizer.lr={low=1, high=2}"), "Nothing to train on"),
        (("edge", "--set", "search.optimizer.l={low=1, high=2}"), "no key 'l'"),
        (("egde", "--data", "a"), "Did you mean 'edge'"),
    ],
)
def test_wrong_calls_are_usage_errors(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[Any, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgebrainError, match=message) as caught:
        call("tune", "--trials", 1, *arguments)
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_data_that_nothing_can_be_trained_on_ends_the_search(
    call: Call, phantoms: Sequence[Sample], tiny_sets: Sequence[str], tmp_path: Path
) -> None:
    write_samples(tmp_path / "few.csv", [s for s in phantoms if s.split != "val"])
    folder = tmp_path / "s"
    with pytest.raises(EdgebrainError, match="val split"):
        call("tune", "edge", "--trials", 9, "--splits", tmp_path / "few.csv", "--output", folder, *words(tiny_sets))
    assert json.loads((folder / "study.json").read_text())["counts"]["fail"] <= 3
