"""What every inference engine offers. Engines know graphs and arrays, nothing of scans, labels or decisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgebrain.bundle import Artifact, Bundle
from edgebrain.types import Float32, Image8, Precision


@dataclass(frozen=True)
class EngineOptions:
    """How an engine is to run.

    Attributes:
        threads: CPU threads for one inference.
        device: ``cpu``, ``cuda`` ...
        spin: Let idle threads wait actively. Faster for one scan at a time, wasteful when decoding shares the cores.
        streams: Inferences that callers will run at a time.
        precision: Arithmetic, where it is to be another than the file's.
    """

    threads: int = 1
    device: str = "cpu"
    spin: bool = False
    streams: int = 1
    precision: Precision | None = None


@dataclass(frozen=True)
class EngineInfo:
    """What really runs.

    Attributes:
        name: Name in the registry.
        provider: Execution provider, read back from the session.
        precision: Precision of the file, or of the arithmetic where that was asked for.
        threads: CPU threads.
        version: Version of the engine's library.
    """

    name: str
    provider: str
    precision: str
    threads: int
    version: str


class Engine(Protocol):
    """A loaded graph."""

    @property
    def info(self) -> EngineInfo:
        """What really runs."""
        ...

    def run(self, images: Image8) -> dict[str, Float32]:
        """Run the graph.

        Args:
            images: uint8 [N, 1, H, W].

        Returns:
            The outputs that the manifest names, by role: ``logits`` [N, K], and ``embedding`` [N, D], ``cam``
            [N, K, h, w] and ``outlier`` [N] if there are any. A model with a second reader adds ``readers`` [N]: how
            many networks made the logits of an image, 1 or 2; and if that may deny what the first calls negative,
            ``contradicted`` [N]: 1 where it does, else 0.

        Raises:
            EngineFailed: The engine broke.
        """
        ...

    def close(self) -> None:
        """Give memory back; the engine cannot run any more."""
        ...


class EngineFactory(Protocol):
    """An engine class: opens a file of a bundle."""

    def __call__(self, bundle: Bundle, artifact: Artifact, options: EngineOptions) -> Engine:
        """Open a file of a bundle.

        Raises:
            EngineUnavailable: A library or device is missing.
            EngineFailed: The engine refuses the graph.
            BundleError: The file is not what the manifest says.
        """
        ...
