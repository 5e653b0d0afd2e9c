"""What options become, in a form that costs no typer to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgebrain.classifier import Classifier


@dataclass(frozen=True)
class ModelRequest:
    """Which model to load, and how; None leaves the choice to the machine's facts."""

    model: str = "edge"
    engine: str | None = None
    precision: str | None = None
    device: str | None = None
    threads: int | None = None

    def load(self, *, second_reader: bool = True) -> Classifier:
        """Load it; see :meth:`edgebrain.Classifier.load`, also for what it raises."""
        from edgebrain.classifier import Classifier

        return Classifier.load(
            self.model,
            engine=self.engine,
            precision=self.precision,
            threads=self.threads,
            device=self.device,
            throughput=True,
            second_reader=second_reader,
        )
