"""What this machine is, and what to run on it: facts first, then a pure choice that explains itself."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgebrain.bundle import Artifact, Manifest
from edgebrain.cpus import usable_cpus
from edgebrain.engines import ENGINES, record_of, unavailable_because
from edgebrain.errors import EngineUnavailable, UsageError
from edgebrain.limits import MAX_THREADS
from edgebrain.types import Precision

_INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})
"""CPU features that multiply 8-bit integers without the 16-bit saturation of older x86 (onnxruntime#14642)."""


@dataclass(frozen=True)
class Facts:
    """What is known of the machine.

    Attributes:
        machine: Architecture, ``x86_64`` or ``aarch64``.
        cpu: Name of the processor, empty if unknown.
        cpus: CPUs that this process may use: the affinity mask and the cgroup quota, whichever is less.
        int8_flags: Features of the processor that make INT8 exact and fast.
        memory_bytes: Physical memory, 0 if unknown.
        board: Board name, ``NVIDIA Jetson Orin Nano`` for instance; empty on a PC.
        unavailable: Engine name to the reason why it cannot be used.
    """

    machine: str
    cpu: str
    cpus: int
    int8_flags: frozenset[str]
    memory_bytes: int
    board: str
    unavailable: dict[str, str]


@dataclass(frozen=True)
class Request:
    """What the user asked for by name; None leaves the choice open."""

    engine: str | None = None
    precision: Precision | None = None
    threads: int | None = None
    device: str | None = None


@dataclass(frozen=True)
class Choice:
    """What will run.

    Attributes:
        artifact: File of the bundle.
        threads: CPU threads.
        device: Device of the engine.
        reasons: Why, in words.
        rejected: Every candidate not taken, with its reason.
    """

    artifact: Artifact
    threads: int
    device: str
    reasons: tuple[str, ...]
    rejected: tuple[str, ...]


def choose(facts: Facts, request: Request, manifest: Manifest) -> Choice:
    """Choose engine, precision and threads. What was asked for by name is used or refused, never replaced.

    Raises:
        UsageError: The request names something that does not exist.
        EngineUnavailable: Nothing that the request allows can run here.
    """
    if request.engine is not None:
        record_of(request.engine)
    if request.threads is not None and not 1 <= request.threads <= MAX_THREADS:
        raise UsageError(
            f"--threads {request.threads}: that is not between 1 and {MAX_THREADS}.",
            remedy="Leave it out to use all CPUs that this process may use.",
        )
    device = request.device or "cpu"
    candidates: list[Artifact] = []
    rejected: list[str] = []
    for artifact in manifest.artifacts:
        reason = _unusable(artifact, facts, request, device)
        if reason is None:
            candidates.append(artifact)
        else:
            rejected.append(f"{artifact.file} with {artifact.engine}: {reason}")
    if not candidates:
        raise EngineUnavailable(
            f"No file of the model {manifest.id} can run as asked ({'; '.join(rejected)}).",
            remedy="'edgebrain doctor' shows what runs here.",
        )
    best = _preferred(candidates, facts)
    reasons = [_why(best, facts, request)]
    rejected += [f"{a.file} with {a.engine}: {_why_not(a, best)}" for a in candidates if a is not best]
    threads = request.threads or min(facts.cpus, MAX_THREADS)
    reasons.append(
        f"{threads} threads: asked for" if request.threads else f"{threads} threads: the CPUs this process may use"
    )
    return Choice(best, threads, device, tuple(reasons), tuple(rejected))


def _unusable(artifact: Artifact, facts: Facts, request: Request, device: str) -> str | None:
    if request.engine not in (None, artifact.engine):
        return f"{request.engine} was asked for"
    if request.precision not in (None, artifact.precision):
        return f"{request.precision.value} was asked for" if request.precision else None
    if artifact.engine not in ENGINES:
        return "this edgebrain has no such engine"
    if device not in ENGINES[artifact.engine].devices:
        return f"the engine does not run on {device!r}"
    return facts.unavailable.get(artifact.engine)


def _preferred(candidates: Sequence[Artifact], facts: Facts) -> Artifact:
    order = [Precision.INT8, Precision.FP16, Precision.FP32]
    if not facts.int8_flags:
        order = [Precision.FP32, Precision.FP16, Precision.INT8]
    return min(candidates, key=lambda a: order.index(a.precision))


def _why(best: Artifact, facts: Facts, request: Request) -> str:
    if request.precision is not None:
        return f"{best.precision.value}: asked for"
    if best.precision is Precision.INT8 and facts.int8_flags:
        return f"int8: the processor has {', '.join(sorted(facts.int8_flags))}, which makes it the fastest"
    if not facts.int8_flags and best.precision is not Precision.INT8:
        return f"{best.precision.value}: without VNNI or dot-product instructions int8 saturates and is slow"
    return f"{best.precision.value}: the first choice of what can run"


def _why_not(artifact: Artifact, best: Artifact) -> str:
    if artifact.precision is best.precision:
        return f"usable, but the model names {best.file} with {best.engine} first"
    return f"usable, but {best.precision.value} is preferred here"


def probe() -> Facts:
    """Look at the machine. Reads a few files of the kernel; imports no engine."""
    flags = _cpu_lines()
    features = set(flags.get("flags", flags.get("Features", "")).split())
    unavailable = {name: reason for name, record in ENGINES.items() if (reason := unavailable_because(record))}
    return Facts(
        machine=platform.machine(),
        cpu=flags.get("model name", ""),
        cpus=usable_cpus(),
        int8_flags=frozenset(features & _INT8_FLAGS),
        memory_bytes=_memory_bytes(),
        board=_read(Path("/proc/device-tree/model")).strip("\0\n "),
        unavailable=unavailable,
    )


def _cpu_lines() -> dict[str, str]:
    facts: dict[str, str] = {}
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        key, separator, value = line.partition(":")
        if not separator and facts:
            break  # the first processor speaks for all
        facts.setdefault(key.strip(), value.strip())
    return facts


def _memory_bytes() -> int:
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: Path) -> str:
    # A fact that the kernel does not give is unknown, not an error.
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
