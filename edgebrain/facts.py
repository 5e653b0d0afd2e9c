"""What this machine is: facts for the choice in :mod:`edgebrain.device`, and for people."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path

from edgebrain.board import Board, read_board
from edgebrain.cpus import usable_cpus
from edgebrain.engines import ENGINES, unavailable_because

_INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})
"""CPU features that multiply 8-bit integers without the 16-bit saturation of older x86 (onnxruntime#14642)."""
_FP16_FLAGS = frozenset({"avx512_fp16", "amx_fp16", "asimdhp"})
"""CPU features that compute in 16-bit floating point."""
_WIDTH_FLAGS = ("avx512f", "avx2", "asimd")
"""Vector units, widest first."""


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
        fp16_flags: Features of the processor that compute in fp16.
        vectors: The widest vector unit that is known to matter; empty if none.
        accelerators: The board's GPU, DLA and Jetson Linux release.
        tensorrt: Version of TensorRT, empty where there is none.
    """

    machine: str
    cpu: str
    cpus: int
    int8_flags: frozenset[str]
    memory_bytes: int
    board: str
    unavailable: dict[str, str]
    fp16_flags: frozenset[str] = frozenset()
    vectors: str = ""
    accelerators: Board = field(default_factory=Board)
    tensorrt: str = ""


def probe() -> Facts:
    """Look at the machine. Reads a few files of the kernel; imports no engine."""
    flags = _cpu_lines()
    features = set(flags.get("flags", flags.get("Features", "")).split())
    unavailable = {name: reason for name, record in ENGINES.items() if (reason := unavailable_because(record))}
    board = read_board()
    return Facts(
        machine=platform.machine(),
        cpu=flags.get("model name", ""),
        cpus=usable_cpus(),
        int8_flags=frozenset(features & _INT8_FLAGS),
        memory_bytes=_memory_bytes(),
        board=board.name,
        unavailable=unavailable,
        fp16_flags=frozenset(features & _FP16_FLAGS),
        vectors=next((name for name in _WIDTH_FLAGS if name in features), ""),
        accelerators=board,
        tensorrt="" if "tensorrt" in unavailable else _version("tensorrt"),
    )


def _version(distribution: str) -> str:
    from importlib import metadata  # it takes longer than all the rest; most machines have no TensorRT

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


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
