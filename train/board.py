"""The figures of a run for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from edgebrain.errors import MissingExtra
from edgebrain.files import failing

from .progress import FREE_SPACE, History

EVENTS = "events.out.tfevents.*"


class Scalars:
    """Rows of figures as scalars, one event file a folder.

    Event files only grow, so a resumed run would show the epochs that it repeats twice. When a run goes on, the file
    is made anew from the rows that were kept.

    Args:
        folder: Where the event file goes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None
        self._written = 0

    def start(self) -> None:
        """Open a new file in place of any earlier one.

        Raises:
            MissingExtra: TensorBoard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra("training", extra="train", module="tensorboard") from error
        with failing(str(self.folder), FREE_SPACE):
            for old in self.folder.glob(EVENTS):
                old.unlink()
            self._writer, self._written = SummaryWriter(str(self.folder)), 0

    def show(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Write the rows that were not there the last time; nothing where the file is not open."""
        if self._writer is None:
            return
        with failing(str(self.folder), FREE_SPACE):
            for row in rows[self._written :]:
                for name, value in row.items():
                    if name != "epoch" and value:
                        self._writer.add_scalar(name, float(value), int(row["epoch"]))
            self._written = len(rows)
            self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with failing(str(self.folder), FREE_SPACE):
                writer.close()


class Board(Callback):
    """Writes every row of the history as scalars.

    Args:
        folder: Where the event file goes.
        history: Whose rows it shows; it must come before this one among the callbacks.
    """

    def __init__(self, folder: Path, history: History) -> None:
        self.scalars = Scalars(folder)
        self.history = history

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the epochs that are not run again."""
        del pl_module
        if trainer.is_global_zero:
            self.scalars.start()
            self.scalars.show(self.history.rows)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what the history has gained."""
        del trainer, pl_module
        self.scalars.show(self.history.rows)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the file."""
        del trainer, pl_module, stage
        self.scalars.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the file; a run may go on in the same process."""
        del trainer, pl_module, exception
        self.scalars.close()
