"""Which cases are measured: engines, precisions, threads and batch sizes. Pure, but for the facts of the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from edgebrain import device as machine
from edgebrain.benchmark.record import Skipped
from edgebrain.benchmark.requests import Config
from edgebrain.engines import ENGINES
from edgebrain.errors import EdgebrainError
from edgebrain.manifest import Manifest

ALL = "all"
SWEEP_BATCHES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Wanted:
    """What was asked for; None leaves the choice to the machine's facts.

    Attributes:
        model: Built-in model, or a bundle's folder.
        engine: Name of an engine, or ``all`` for every engine and precision that is here.
        precision: Precision or layout of the file, see :func:`edgebrain.device.kind_of`.
        device: Device.
        threads: CPU threads in all.
        batch_size: Scans that the engine gets at a time.
        sweep: Also other numbers of threads and other batch sizes.
    """

    model: str
    engine: str | None = None
    precision: str | None = None
    device: str | None = None
    threads: int | None = None
    batch_size: int = 8
    sweep: bool = False


@dataclass(frozen=True)
class Planned:
    """What will be measured.

    Attributes:
        cases: Measured in full; the first is what ``edgebrain classify`` would run.
        swept: Only their steady run is measured.
        skipped: What cannot be measured here.
    """

    cases: tuple[Config, ...]
    swept: tuple[Config, ...]
    skipped: tuple[Skipped, ...]


def plan(wanted: Wanted, facts: machine.Facts, manifest: Manifest) -> Planned:
    """Settle on what to measure.

    Raises:
        UsageError: The request names something that does not exist.
        EngineUnavailable: Nothing of it can run here.
    """
    every = wanted.engine == ALL
    first = _chosen(replace(wanted, engine=None) if every else wanted, facts, manifest)
    cases, skipped = [first], []
    for one in _others(wanted, manifest) if every else ():
        try:
            config = _chosen(one, facts, manifest)
        except EdgebrainError as error:
            skipped.append(Skipped(f"{one.engine} {one.precision}", error.message))
            continue
        if config not in cases:
            cases.append(config)
    swept = _swept(cases, facts.cpus, wanted) if wanted.sweep else ()
    return Planned(tuple(cases), tuple(swept), tuple(skipped))


def _chosen(wanted: Wanted, facts: machine.Facts, manifest: Manifest) -> Config:
    request = machine.request_of(wanted.engine, wanted.precision, wanted.threads, wanted.device)
    choice = machine.choose(facts, request, manifest)
    kind = machine.kind_of(choice.artifact, manifest) if choice.precision is None else choice.precision.value
    return Config(
        wanted.model,
        choice.engine,
        kind,
        choice.device,
        choice.threads,
        wanted.batch_size,
        choice.artifact.file,
    )


def _others(wanted: Wanted, manifest: Manifest) -> Sequence[Wanted]:
    present = dict.fromkeys(machine.kind_of(artifact, manifest) for artifact in manifest.artifacts)
    kinds = list(present) if wanted.precision is None else [wanted.precision]
    return [replace(wanted, engine=name, precision=kind) for name in ENGINES for kind in kinds]


def _swept(cases: Sequence[Config], cpus: int, wanted: Wanted) -> Sequence[Config]:
    found = []
    for case in cases:
        threads = [case.threads] if wanted.threads is not None else sorted({*powers(cpus), case.threads})
        for count in threads:
            batches = sorted({*SWEEP_BATCHES, case.batch_size})
            same = (msgspec.structs.replace(case, threads=count, batch_size=batch) for batch in batches)
            found += [one for one in same if one != case]
    return found


def powers(limit: int) -> list[int]:
    """1, 2, 4 ... up to a limit, and the limit itself."""
    found = [1]
    while found[-1] * 2 <= limit:
        found.append(found[-1] * 2)
    return found if found[-1] == limit else [*found, limit]
