"""How much is measured, and on which files: decided once by run.py, read by every measure in its own process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        files: Scans, as paths.
        labels: Their labels, where they are known; else empty.
        groups: Their groups of near-identical slices, as the labels.
        threads: Threads that each side gets.
        starts: Rounds of cold starts.
        rounds: Rounds over all files.
        rival_scans: Scans a round of what is slow.
        rival_rounds: Rounds of the rival.
        checkpoints: Numbers of scans after which memory is looked at.
        model: Built-in bundle, or a bundle's folder.
        environments: Folder for environments of peers.
        install: Whether those may be made, with pip.
        rival: Folder of a run that trained the rival; empty gives it random weights.
    """

    files: tuple[str, ...]
    threads: int
    starts: int
    rounds: int
    rival_scans: int
    rival_rounds: int
    checkpoints: tuple[int, ...]
    model: str = "edge"
    environments: str = "bench-out/peers"
    install: bool = False
    labels: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    rival: str = ""

    @property
    def few(self) -> tuple[str, ...]:
        """Files for what is slow, spread evenly over all."""
        count = min(self.rival_scans, len(self.files))
        return tuple(self.files[n * len(self.files) // count] for n in range(count))
