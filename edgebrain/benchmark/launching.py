"""Starts measuring processes, and commands as a user would start them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgebrain.benchmark.record import Cold
from edgebrain.benchmark.requests import CaseReply, CaseRequest, Config, FreshReply, FreshRequest, Reply, Request
from edgebrain.errors import (
    EXIT_INVALID,
    EXIT_MISSING,
    EXIT_OK,
    EXIT_USAGE,
    EdgebrainError,
    EngineFailed,
    EngineUnavailable,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_ERRORS: Mapping[int, type[EdgebrainError]] = {
    EXIT_USAGE: UsageError,
    EXIT_MISSING: EngineUnavailable,
    EXIT_INVALID: EngineFailed,
}
# The folder that Python would put first is the one that a user happens to be in; what lies there is not imported.
_CODE = "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); from {module} import main; sys.exit(main())"


def command(module: str, *arguments: str) -> list[str]:
    """The command that runs ``main`` of a module of ours, found where this process found it."""
    places = "\n".join(place for place in sys.path if place)
    return [sys.executable, "-c", _CODE.format(module=module), places, *arguments]


def run_case(request: CaseRequest) -> CaseReply:
    """Measure a steady case in a new process.

    Raises:
        EdgebrainError: As :func:`edgebrain.benchmark.measuring.measure_case`; or the process died.
    """
    reply = _ask(Request(case=request)).case
    assert reply is not None
    return reply


def start_fresh(config: Config, file: str) -> FreshReply:
    """Load a model in a new process and classify a file.

    Raises:
        EdgebrainError: It cannot be done there; or the process died.
    """
    reply = _ask(Request(fresh=FreshRequest(config, file))).fresh
    assert reply is not None
    return reply


def _ask(request: Request) -> Reply:
    with tempfile.TemporaryDirectory(prefix="edgebrain-benchmark-") as folder:
        source, target = Path(folder) / "request.json", Path(folder) / "reply.json"
        source.write_bytes(msgspec.json.encode(request))
        child = command("edgebrain.benchmark.child", str(source), str(target))
        done = subprocess.run(child, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        if not target.is_file():
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            last = f": {said[-1]}" if said else ""
            raise EngineFailed(
                f"The measuring process ended with {done.returncode}{last}.",
                remedy="'edgebrain doctor' shows what runs here.",
            )
        reply = msgspec.json.decode(target.read_bytes(), type=Reply)
    if reply.error is not None:
        raise _ERRORS.get(reply.error.exit_code, EdgebrainError)(reply.error.message, remedy=reply.error.remedy)
    return reply


def start_cold(config: Config, file: str, starts: int) -> Cold:
    """Start the command, and a process that tells its parts, so many times each, in turn.

    A start before the first one that counts fills the caches of the disk.

    Raises:
        EdgebrainError: The command fails, or a process died.
    """
    words = ["classify", file, "--format", "jsonl", "--model", config.model, "--engine", config.engine]
    words += ["--precision", config.precision, "--device", config.device, "--threads", str(config.threads)]
    line = command("edgebrain.__main__", *words)
    walls, parts = [], []
    for turn in range(starts + 1):
        began = time.perf_counter()
        done = subprocess.run(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        wall = (time.perf_counter() - began) * 1e3
        if done.returncode != EXIT_OK:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise EdgebrainError(f"A start of 'edgebrain classify' failed: {said}", remedy="Run that command by hand.")
        part = start_fresh(config, file)
        if turn:
            walls.append(wall)
            parts.append(part)
    return Cold(
        command_ms=tuple(walls),
        import_ms=tuple(part.import_ms for part in parts),
        load_ms=tuple(part.load_ms for part in parts),
        first_ms=tuple(part.first_ms for part in parts),
        peak_mb=tuple(part.peak_mb for part in parts if part.peak_mb is not None),
    )
