"""The log of a run, also where it was damaged while the run lay still."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from edgebrain.labelled import Sample
from edgebrain.train.config import Recipe
from edgebrain.train.fit import fit
from edgebrain.train.progress import FIGURES, RATE, read_rows, write_rows

HEAD = ",".join(("epoch", "seconds", *FIGURES, RATE))
REST = "," * (len(FIGURES) + 1)
DAMAGED = [
    b"",
    b"\xff\xfe\x00",
    b"epoch\n0\n",
    b"when,what\n0,1\n",
    f"{HEAD}\nzero,1.0{REST}\n".encode(),
    f"{HEAD}\n0,1.0,0.5\n".encode(),
    f"{HEAD}\n0,1.0{REST},more\n".encode(),
    f"{HEAD}\n0,{REST}\n".encode(),
    f"{HEAD}\n0,nan{REST}\n".encode(),
    f"{HEAD}\n0,1.0,much{REST[1:]}\n".encode(),
]

pytestmark = pytest.mark.usefixtures("one_thread")


class Stop(Callback):
    """Raises when the second epoch begins."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        if trainer.current_epoch == 1:
            raise ArithmeticError


def test_rows_come_back(tmp_path: Path) -> None:
    rows = [{"epoch": "0", "seconds": "1.5", "val/loss": "nan", RATE: "0.1"}]
    write_rows(tmp_path / "log.csv", rows)
    assert [{k: v for k, v in row.items() if v} for row in read_rows(tmp_path / "log.csv")] == rows
    (tmp_path / "log.csv").write_text("epoch,seconds,val/loss\n0,1.5,0.25\n")  # as earlier versions wrote it
    assert read_rows(tmp_path / "log.csv") == [{"epoch": "0", "seconds": "1.5", "val/loss": "0.25"}]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_log_is_recognised(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises((ValueError, csv.Error)):
        read_rows(tmp_path / "log.csv")


@pytest.mark.parametrize("content", [DAMAGED[4], None])
def test_a_damaged_log_does_not_cost_the_run(
    tiny: Recipe, phantoms: Sequence[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    run = tmp_path / "run"
    with pytest.raises(ArithmeticError):
        fit(tiny, phantoms, run, threads=1, callbacks=[Stop()])
    log = run / "log" / "metrics.csv"
    assert [row["epoch"] for row in read_rows(log)] == ["0"]
    log.unlink()
    if content is not None:
        log.write_bytes(content)
    capsys.readouterr()
    found = fit(tiny, phantoms, run, threads=1, resume=True)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(said) == 1
    assert "metrics.csv cannot be used" in said[0]
    assert [row["epoch"] for row in read_rows(log)] == [str(k) for k in range(1, tiny.trainer.epochs)]
    assert 0 <= found.metrics["training_seconds"] < 600  # in tenths: an epoch of the tiny network may take none
    assert (run / "curves.png").is_file()
