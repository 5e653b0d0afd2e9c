from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from edgebrain.errors import EXIT_INTERRUPTED, TrainingError, UsageError
from edgebrain.labelled import Sample, read_labelled
from edgebrain.train import run_all as running
from edgebrain.train.config import load_recipe
from edgebrain.train.fit import fit
from edgebrain.train.given_splits import Given
from edgebrain.train.splits import by_group

Samples = tuple[Sample, ...]
Call = Callable[..., int]


class Crash(Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        if trainer.current_epoch == self.epoch:
            raise ArithmeticError


@pytest.fixture(name="call")
def _call(call: Call, tiny_sets: Sequence[str]) -> Call:
    """``edgebrain train all`` with tiny recipes."""
    sets = [word for item in tiny_sets for word in ("--set", item)]
    return partial(call, "train", "all", *sets, "--threads", "1")


def rows(out: str) -> dict[str, str]:
    """What the table says of each recipe."""
    lines = [line.split() for line in out.splitlines() if line.startswith("edge")]
    return {line[0]: line[1] for line in lines if not line[0].endswith(":")}


@pytest.fixture
def begun(phantoms: Samples, tiny_sets: Sequence[str], tmp_path: Path) -> Path:
    """Run folders: one with something else in it, one with a finished epoch, one stopped before its first was over."""
    runs = tmp_path / "runs"
    (runs / "edge").mkdir(parents=True)
    (runs / "edge" / "notes.txt").write_text("mine")
    for name, epoch in (("edge-base", 1), ("edge-wide", 0)):
        recipe = load_recipe(name, [*tiny_sets, "trainer.epochs=2"])
        with pytest.raises(ArithmeticError):
            fit(recipe, phantoms, runs / name, threads=1, callbacks=[Crash(epoch)])
    return runs


def test_a_failure_does_not_stop_the_others_and_a_second_call_does_what_is_left(
    call: Call, begun: Path, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = begun
    capsys.readouterr()

    arguments = ("--splits", manifest, "-o", runs, "--only", "edge,edge-base, edge-wide", "--epochs", 2)
    assert call(*arguments) == 1
    said = capsys.readouterr()
    assert rows(said.out) == {"edge": "failed", "edge-base": "resumed", "edge-wide": "trained"}
    assert "is not empty" in said.err
    assert "is not empty" in said.out
    assert (runs / "edge" / "notes.txt").read_text() == "mine"

    (runs / "edge" / "notes.txt").unlink()
    before = (runs / "edge-base" / "metrics.json").read_bytes()
    assert call(*arguments) == 0
    assert rows(capsys.readouterr().out) == {"edge": "trained", "edge-base": "finished", "edge-wide": "finished"}
    assert (runs / "edge-base" / "metrics.json").read_bytes() == before
    # A run of a version that did not know some of the values yet is finished, too.
    older = json.loads(before)
    del older["recipe"]["lite"], older["recipe"]["meta"]["stop_after"]
    (runs / "edge-base" / "metrics.json").write_text(json.dumps(older))
    assert call(*arguments) == 0
    # Other values are no longer what was trained.
    assert call(*arguments, "--seed", 9) == 1
    assert "other values of the recipe" in capsys.readouterr().err


def test_data_is_audited_once_a_vocabulary(
    call: Call, phantoms: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audits: list[Sequence[str]] = []

    def from_data(paths: Sequence[Path], labels: Sequence[str], *, seed: int, known: Sequence[str]) -> Given:
        assert paths == (tmp_path,)
        assert set(labels) <= set(known)
        audits.append(labels)
        return Given(by_group([replace(s, split="") for s in phantoms], seed=seed), ("broken.png",))

    trained: list[Sequence[Sample]] = []

    def failing(recipe: object, samples: Sequence[Sample], *_: object, unreadable: object, **__: object) -> None:
        del recipe
        assert unreadable == ("broken.png",)  # also where the splits are read again
        trained.append(samples)
        raise TrainingError("no")

    monkeypatch.setattr(running, "from_data", from_data)
    monkeypatch.setattr("edgebrain.train.fit.fit", failing)
    runs = tmp_path / "runs"
    assert call("--data", tmp_path, "-o", runs, "--only", "edge,edge-base") == 1
    assert len(audits) == 1
    assert trained[0] == trained[1] == read_labelled(runs / "splits.csv")
    assert {s.split for s in trained[0]} == {"train", "val", "test"}
    # The second call takes the splits that are there.
    assert call("--data", tmp_path, "-o", runs, "--only", "edge") == 1
    assert len(audits) == 1
    assert trained[2] == trained[0]


def test_an_error_of_nobody_knows_what_is_one_line_and_the_rest_goes_on(
    call: Call, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory\nand more")

    monkeypatch.setattr("edgebrain.train.fit.fit", broken)
    assert call("--splits", manifest, "-o", tmp_path / "runs", "--only", "edge,edge-base") == 1
    said = capsys.readouterr()
    for name in ("edge", "edge-base"):
        assert f"edgebrain: {name}: RuntimeError: out of memory\n" in said.err
        assert f"{name}: RuntimeError: out of memory" in said.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "'train all' needs data"),
        (("--data", "a", "--splits", "b"), "'train all' needs data"),
        (("--data", "a", "--only", "edge,egde"), "Did you mean 'edge'"),
        (("--data", "a", "--set", "trainer.epoch=3"), "Did you mean 'epochs'"),
        (("--data", "a", "--devices", "2"), "runs in one process"),
    ],
)
def test_calls_that_make_no_sense(call: Call, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call(*arguments)


def test_damaged_figures_are_a_failure_of_that_recipe(
    call: Call, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs" / "edge").mkdir(parents=True)
    (tmp_path / "runs" / "edge" / "metrics.json").write_text("{")
    assert call("--splits", manifest, "-o", tmp_path / "runs", "--only", "edge") == 1
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["train", "all", "--only", "edge-base,teacher"], ["train", "edge-base"]])
def test_control_c_of_a_terminal_stops_everything(
    manifest: Path, tiny_sets: Sequence[str], tmp_path: Path, command: list[str]
) -> None:
    # A terminal sends it to the whole group of processes, so to the workers that load scans, too.
    sets = [word for item in (*tiny_sets, "trainer.workers=1", "trainer.epochs=1000") for word in ("--set", item)]
    words = [
        sys.executable,
        "-m",
        "edgebrain",
        *command,
        *sets,
        "--splits",
        str(manifest),
        "-o",
        str(tmp_path / "runs"),
    ]
    told = tmp_path / "stderr"
    with told.open("wb") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=stream, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("runs/**/checkpoints/last.ckpt")):
            assert process.poll() is None, told.read_text()
            assert time.monotonic() < deadline, told.read_text()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == EXIT_INTERRUPTED, told.read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    text = told.read_text()
    assert "DataLoader worker" not in text
    assert "teacher (2 of 2)" not in text
    assert text.endswith("edgebrain: interrupted; what was written so far is complete.\n")
