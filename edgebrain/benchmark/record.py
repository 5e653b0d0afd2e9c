"""The record of a benchmark: raw samples first, and what follows from them. Versioned JSON, read back strictly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from edgebrain.errors import UsageError
from edgebrain.intervals import Estimate

if TYPE_CHECKING:
    from pathlib import Path

BENCHMARK_SCHEMA = 1
"""Version of the record; raised when a field changes its meaning or goes away."""
STAGES = ("read", "preprocess", "infer", "decide", "total")
"""What the time of one scan is made of, and all of it."""


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the record: what is not named in it is refused."""


class Setup(_Part, frozen=True):
    """What ran, read back from what was opened.

    Attributes:
        model: Id of the model.
        version: Version of the model.
        sha256: Hash of the file.
        precision: Precision of the file.
        engine: Name of the engine.
        provider: What the engine says it runs on.
        engine_version: Version of its library.
        device: Device that was asked for.
        threads: CPU threads in all.
        batch_size: Scans that the engine got at a time in the steady run.
    """

    model: str
    version: str
    sha256: str
    precision: str
    engine: str
    provider: str
    engine_version: str
    device: str
    threads: int
    batch_size: int

    @property
    def key(self) -> str:
        """What makes a case the same as one of another record."""
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        return f"{self.engine} {self.precision} on {self.device}, {threads}, batch {self.batch_size}"


class Cold(_Part, frozen=True):
    """New processes; one sample each.

    Attributes:
        command_ms: ``edgebrain classify FILE``, from its start to its end.
        import_ms: Importing what classifying needs, in a process of its own.
        load_ms: Loading the model there.
        first_ms: Its first scan, from file to answer.
        peak_mb: Largest resident memory of such a process in MB, where the kernel says it.
    """

    command_ms: tuple[float, ...] = ()
    import_ms: tuple[float, ...] = ()
    load_ms: tuple[float, ...] = ()
    first_ms: tuple[float, ...] = ()
    peak_mb: tuple[float, ...] = ()


class Throughput(_Part, frozen=True):
    """The steady run: files to records, reading and inference overlapped.

    Attributes:
        chunk: Scans in a chunk.
        seconds: Wall time of every chunk.
    """

    chunk: int
    seconds: tuple[float, ...]


class Memory(_Part, frozen=True):
    """Resident memory of the measuring process in MB, where the kernel says it.

    Attributes:
        loaded: After loading the model.
        begin: After the first chunk of the steady run.
        end: After its last chunk.
        peak: The largest.
    """

    loaded: float
    begin: float
    end: float
    peak: float

    @property
    def growth(self) -> float:
        """What the steady run added."""
        return self.end - self.begin


class Energy(_Part, frozen=True):
    """Energy of the steady run.

    Attributes:
        method: Which sensors, and what they see.
        scans: Scans in the run.
        seconds: How long it took.
        joules: What the sensors counted.
        idle_watts: Their power just before, with this process waiting.
    """

    method: str
    scans: int
    seconds: float
    joules: float
    idle_watts: float

    @property
    def joules_per_scan(self) -> float:
        """Above idle. Below 0 where the sensors cannot tell the run from idling."""
        return (self.joules - self.idle_watts * self.seconds) / self.scans

    @property
    def gross_joules_per_scan(self) -> float:
        """With the share of idling."""
        return self.joules / self.scans


class Accuracy(_Part, frozen=True):
    """The same file on labelled scans; see ``edgebrain evaluate`` for all figures.

    Attributes:
        data: Name of the folder or manifest.
        mode: ``labels``, or ``tumor_vs_none``.
        n: Scans with an answer.
        n_failed: Scans without one.
        accuracy: Share of scans whose most probable label is right.
        sensitivity: Share of tumours called a tumour; None for a model without a negative label.
        coverage: Share of scans that the model was willing to judge.
    """

    data: str
    mode: str
    n: int
    n_failed: int
    accuracy: Estimate
    sensitivity: Estimate | None
    coverage: Estimate


class Summary(_Part, frozen=True):
    """What follows from the samples, with 95 % intervals.

    Attributes:
        latency_ms: By stage: ``p50``, ``p90``, ``p95``, ``p99``; undefined where there are too few samples.
        scans_per_second: Of the steady run.
        scans_per_hour: The same, an hour long.
        joules_per_scan: Above idle; None without a sensor.
    """

    latency_ms: Mapping[str, Mapping[str, Estimate]]
    scans_per_second: Estimate
    scans_per_hour: Estimate
    joules_per_scan: float | None


class Case(_Part, frozen=True):
    """One file of the model with one engine, so many threads and one batch size.

    Attributes:
        setup: What ran.
        throughput: The steady run.
        summary: What follows from the samples.
        cold: New processes; None where they were not started.
        latency_ms: One scan at a time: a sample a scan of every stage; empty where that was not measured.
        memory: None where the kernel does not say.
        energy: None where there is no sensor that this process may read.
        accuracy: None without labelled scans.
        notes: What a reader must know: throttling, missing sensors.
    """

    setup: Setup
    throughput: Throughput
    summary: Summary
    cold: Cold | None = None
    latency_ms: Mapping[str, tuple[float, ...]] = {}
    memory: Memory | None = None
    energy: Energy | None = None
    accuracy: Accuracy | None = None
    notes: tuple[str, ...] = ()


class Skipped(_Part, frozen=True):
    """What was not measured, and why."""

    what: str
    reason: str


class Benchmark(_Part, frozen=True):
    """One run of ``edgebrain benchmark``.

    Attributes:
        created: When, ISO 8601 in UTC.
        edgebrain: Version.
        machine: Facts of the machine.
        libraries: Versions.
        scans: What was timed, in words.
        n_files: How many files.
        slices_per_exam: Slices that one examination is taken to have.
        cases: What was measured, the one that ``edgebrain classify`` would run first.
        failed: Files that were left out, because they could not be used.
        skipped: What was not measured.
        schema: Version of this record.
    """

    created: str
    edgebrain: str
    machine: Mapping[str, str | int | float]
    libraries: Mapping[str, str]
    scans: str
    n_files: int
    slices_per_exam: int
    cases: tuple[Case, ...]
    failed: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    schema: int = BENCHMARK_SCHEMA


def to_json(record: Benchmark) -> bytes:
    """The record as JSON, ready for a file."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def read_record(path: Path) -> Benchmark:
    """Read a record and check all of it.

    Raises:
        UsageError: The file cannot be read, or is no record of this version.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror or error}.") from error
    remedy = "Give a file that 'edgebrain benchmark --json FILE' wrote."
    try:
        version = msgspec.json.decode(data, type=_Version).schema
        if version != BENCHMARK_SCHEMA:
            raise UsageError(
                f"{path} has version {version} of the benchmark record; this edgebrain reads {BENCHMARK_SCHEMA}.",
                remedy="Measure again with this edgebrain.",
            )
        return msgspec.json.decode(data, type=Benchmark)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is no benchmark record: {error}.", remedy=remedy) from error


class _Version(msgspec.Struct, frozen=True):
    schema: int
