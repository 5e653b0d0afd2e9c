"""What the measuring processes are asked for, and what they answer."""

from __future__ import annotations

import msgspec

from edgebrain.benchmark.record import Accuracy, Energy, Memory, Setup, Throughput


class Config(msgspec.Struct, frozen=True):
    """One file of a model on one engine; names are settled, nothing is left to choose.

    Attributes:
        model: Built-in model, or a bundle's folder.
        engine: Name of the engine.
        precision: Precision of the file.
        device: Device.
        threads: CPU threads in all.
        batch_size: Scans that the engine gets at a time.
        file: File of the bundle that engine, precision and device lead to; two of them are never one case.
    """

    model: str
    engine: str
    precision: str
    device: str
    threads: int
    batch_size: int
    file: str = ""


class Effort(msgspec.Struct, frozen=True):
    """How much is measured. A steady run ends when both minima are reached.

    Attributes:
        iterations: Scans at least.
        seconds: Seconds at least.
        starts: New processes.
    """

    iterations: int = 200
    seconds: float = 5.0
    starts: int = 5


class CaseRequest(msgspec.Struct, frozen=True):
    """Measure a steady case in this process.

    Attributes:
        config: What to run.
        effort: How much.
        files: Scans, over and over.
        latency: Also time scans one by one, per stage.
        data: Labelled scans to measure accuracy on; None for none.
        split: Only this split of them.
    """

    config: Config
    effort: Effort
    files: tuple[str, ...]
    latency: bool = True
    data: str | None = None
    split: str | None = None


class FreshRequest(msgspec.Struct, frozen=True):
    """Load the model in this new process and classify one file."""

    config: Config
    file: str


class CaseReply(msgspec.Struct, frozen=True):
    """What a process measured; the fields are those of :class:`~edgebrain.benchmark.record.Case`.

    Attributes:
        failed: Why files were left out, one message each.
        usable: The first file that could be used.
    """

    setup: Setup
    throughput: Throughput
    latency_ms: dict[str, tuple[float, ...]]
    memory: Memory | None
    energy: Energy | None
    accuracy: Accuracy | None
    notes: tuple[str, ...]
    failed: tuple[str, ...]
    usable: str


class FreshReply(msgspec.Struct, frozen=True):
    """What a start cost; see :class:`~edgebrain.benchmark.record.Cold`."""

    import_ms: float
    load_ms: float
    first_ms: float
    peak_mb: float | None


class ErrorReply(msgspec.Struct, frozen=True):
    """An error of the tree, as far as another process can be told."""

    message: str
    remedy: str | None
    exit_code: int


class Reply(msgspec.Struct, frozen=True):
    """One of the three."""

    case: CaseReply | None = None
    fresh: FreshReply | None = None
    error: ErrorReply | None = None


class Request(msgspec.Struct, frozen=True):
    """One of the two."""

    case: CaseRequest | None = None
    fresh: FreshRequest | None = None
