"""Options that several commands share, and what they become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from edgebrain.errors import UsageError

if TYPE_CHECKING:
    from edgebrain.classifier import Classifier

Model = Annotated[str, typer.Option("--model", "-m", metavar="NAME|DIR", help="Built-in model, or a bundle's folder.")]
EngineName = Annotated[str | None, typer.Option("--engine", help="Engine; the best one here if not given.")]
PrecisionName = Annotated[str | None, typer.Option("--precision", help="fp32 or int8; the best one here if not given.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, or what the engine has.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads; all that this process may use if not given.")
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, max=1024, help="Scans that the engine gets at a time.")]


@dataclass(frozen=True)
class ModelRequest:
    """Which model to load, and how; None leaves the choice to the machine's facts."""

    model: str = "edge"
    engine: str | None = None
    precision: str | None = None
    device: str | None = None
    threads: int | None = None

    def load(self) -> Classifier:
        """Load it; raises what :meth:`edgebrain.Classifier.load` raises."""
        from edgebrain.classifier import Classifier

        return Classifier.load(
            self.model,
            engine=self.engine,
            precision=self.precision,
            threads=self.threads,
            device_name=self.device,
        )


def usage(message: str, remedy: str) -> UsageError:
    """A usage error, for commands that import nothing else."""
    return UsageError(message, remedy=remedy)
