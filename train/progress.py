"""What training says while it runs: lines or a bar for people, rows for the run folder."""

from __future__ import annotations

import csv
import io
import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, RichProgressBar

from edgebrain.errors import printable
from edgebrain.files import failing
from edgebrain.outputs import write_whole

FIGURES = ("train/loss", "val/loss", "val/accuracy", "val/macro_f1", "train/accuracy")
RATE = "lr"
_COLUMNS = ("epoch", "seconds", *FIGURES, RATE)
FREE_SPACE = "Make room, then go on with --resume."


class History(Callback):
    """Keeps one row of figures an epoch in a CSV file, also over a resume.

    Lightning's own CSV logger starts an empty file when a run goes on, so the curves would lose their beginning.

    Args:
        path: CSV file with the columns epoch (from 0), seconds, FIGURES and the learning rate at the end of the epoch.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []
        self._started = 0.0
        self._begun = -1  # the epoch that the clock was started for

    @property
    def seconds(self) -> float:
        """Time spent on the epochs that count, those before a resume included."""
        return math.fsum(float(row["seconds"]) for row in self.rows)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the rows of the epochs that are not run again."""
        del pl_module
        if trainer.is_global_zero:
            with failing(str(self.path), FREE_SPACE):
                self.path.parent.mkdir(parents=True, exist_ok=True)
        if trainer.ckpt_path is None:
            return
        try:
            self.rows = [row for row in read_rows(self.path) if int(row["epoch"]) <= trainer.current_epoch]
        except (OSError, ValueError, csv.Error) as error:
            self.rows = []  # hours of training are worth more than their curves
            if trainer.is_global_zero:
                why = printable(f"{self.path} cannot be used ({error})")
                sys.stderr.write(f"note: {why}; the log begins anew, without the epochs before and their time\n")
                write_rows(self.path, self.rows)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        del pl_module
        self._begun = trainer.current_epoch
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's row."""
        del pl_module
        if trainer.current_epoch != self._begun or (self.rows and self._begun <= int(self.rows[-1]["epoch"])):
            return  # Lightning ends the last finished epoch once more when a run goes on
        figures = {k: repr(float(v)) for k, v in trainer.callback_metrics.items() if k in FIGURES}
        figures[RATE] = repr(float(trainer.optimizers[0].param_groups[0]["lr"]))
        seconds = f"{time.monotonic() - self._started:.3f}"
        self.rows.append({"epoch": str(trainer.current_epoch), "seconds": seconds, **figures})
        if not trainer.is_global_zero:
            return
        write_rows(self.path, self.rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read what :func:`write_rows` wrote.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no such file, or was cut short; csv.Error likewise.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    columns = set(reader.fieldnames or ())
    if not {"epoch", "seconds"} <= columns <= set(_COLUMNS):  # earlier versions wrote fewer
        raise ValueError("its columns are others")
    for row in rows:
        if None in row or None in row.values():
            raise ValueError("a row is longer or shorter than the first")
        int(row["epoch"])
        if not math.isfinite(float(row["seconds"])):
            raise ValueError("seconds are a finite number")
        for name in columns - {"epoch", "seconds"}:
            float(row[name] or "nan")
    return rows


def write_rows(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write rows of figures as CSV, replacing what was there; what a row lacks stays empty.

    Args:
        path: The file.
        rows: Columns epoch, seconds, FIGURES and RATE, or some of them.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())


class EpochLines(Callback):
    """One line an epoch on stderr, for logs and background runs."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        del trainer, pl_module
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's figures."""
        del pl_module
        if not trainer.is_global_zero:
            return
        seconds = time.monotonic() - self._started
        left = (trainer.max_epochs or 0) - trainer.current_epoch - 1
        figures = "  ".join(f"{k} {float(v):.4f}" for k, v in sorted(trainer.callback_metrics.items()) if k in FIGURES)
        minutes = seconds * left / 60
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        sys.stderr.write(f"{epoch}  {figures}  {seconds:.0f} s  {minutes:.0f} min left\n")
        sys.stderr.flush()


def progress_callback() -> Callback:
    """A live bar on a terminal, lines elsewhere; both on stderr, because stdout belongs to results."""
    return RichProgressBar(console_kwargs={"stderr": True}) if sys.stderr.isatty() else EpochLines()


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's notices and advertisements off the screen; its warnings stay."""
    loggers = [logging.getLogger(name) for name in ("lightning", "lightning.pytorch", "lightning.fabric")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
