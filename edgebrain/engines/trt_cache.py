"""Engines that TensorRT built on this device, so that each is built once.

An engine fits one graph, one version of TensorRT and one GPU. Its file is called after the hash of all that; a JSON
file beside it says the same in words, with the hash of the engine, and is written last. What does not match is never
loaded: TensorRT runs engines as they are, and a foreign one could do anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgebrain.engines.trt_rules import Profile
from edgebrain.errors import EdgebrainError
from edgebrain.files import beside, put_in_place

SCHEMA = 1
BUILDER = 1
"""Version of our own builder; raised when it builds other engines from the same graph."""


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on.

    Attributes:
        graph: SHA-256 of the ONNX file.
        weak_graph: SHA-256 of the file for the weakly typed way, or empty.
        precision: Precision of the file.
        tensorrt: Version of TensorRT, all parts of it.
        cuda_runtime: Version of the CUDA runtime.
        cuda_driver: Newest CUDA that the driver knows.
        machine: Architecture of the CPU.
        device: Name of the GPU.
        compute_capability: ``8.7`` for instance.
        sms: Streaming multiprocessors.
        memory_bytes: Memory of the GPU.
        l2_bytes: Its second-level cache.
        integrated: Whether it shares the memory of the CPU.
        ecc: Whether its memory corrects errors.
        l4t: Release of Jetson Linux.
        target: ``gpu``, or ``dla0`` with fallback to the GPU.
        profile: Batch sizes.
        workspace_bytes: Memory that the builder may use for one layer.
        level: Optimisation level of the builder.
        builder: Version of our builder.
    """

    graph: str
    weak_graph: str
    precision: str
    tensorrt: str
    cuda_runtime: int
    cuda_driver: int
    machine: str
    device: str
    compute_capability: str
    sms: int
    memory_bytes: int
    l2_bytes: int
    integrated: bool
    ecc: bool
    l4t: str
    target: str
    profile: Profile
    workspace_bytes: int
    level: int
    builder: int = BUILDER

    def digest(self) -> str:
        """Name of the engine."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class StoredEngine:
    """An engine, and what is known of its building."""

    plan: bytes
    building: dict[str, Any]


class EngineCache:
    """A folder of engines.

    Args:
        folder: A folder that only this user can write to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, key: EngineKey) -> StoredEngine | str:
        """The engine of a key, or why there is none that may be used."""
        plan, sidecar = self._paths(key)
        try:
            record = json.loads(sidecar.read_bytes())
            data = plan.read_bytes()
        except FileNotFoundError:
            return self._nearest(key)
        except (OSError, ValueError) as error:
            return f"the stored engine cannot be read ({type(error).__name__})"
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            return "the stored engine was written by another edgebrain"
        differing = _difference(record.get("key"), key)
        if differing is not None:
            return f"the stored engine has {differing}"
        if record.get("sha256") != hashlib.sha256(data).hexdigest():
            return "the stored engine is not the one that was built here"
        building = record.get("building")
        return StoredEngine(data, building if isinstance(building, dict) else {})

    def _nearest(self, key: EngineKey) -> str:
        """Why an engine that was built for the same graph does not count, for instance after an upgrade."""
        for path in sorted(self.folder.glob("*.json")):
            try:
                stored = json.loads(path.read_bytes())["key"]
            except (OSError, ValueError, LookupError, TypeError):
                continue
            if isinstance(stored, dict) and stored.get("graph") == key.graph:
                differing = _difference(stored, key)
                if differing is not None:
                    return f"the engine that was built before has {differing}"
        return "none was built for this model yet"

    def store(self, key: EngineKey, made: StoredEngine) -> None:
        """Keep an engine; the file that vouches for it comes last.

        Raises:
            EdgebrainError: It cannot be written.
        """
        plan, sidecar = self._paths(key)
        record = {
            "schema": SCHEMA,
            "key": asdict(key),
            "sha256": hashlib.sha256(made.plan).hexdigest(),
            "bytes": len(made.plan),
            "building": made.building,
        }
        self._write(plan, made.plan)
        self._write(sidecar, (json.dumps(record, indent=2) + "\n").encode())

    def discard(self, key: EngineKey) -> None:
        """Forget an engine."""
        for path in reversed(self._paths(key)):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def timing(self, key: EngineKey) -> bytes:
        """What earlier builds measured on this device with this TensorRT; empty if nothing."""
        try:
            return self._timing_path(key).read_bytes()
        except OSError:
            return b""

    def keep_timing(self, key: EngineKey, data: bytes) -> None:
        """Keep what this build measured; the next one is quicker for it, and works without it."""
        with contextlib.suppress(EdgebrainError):
            self._write(self._timing_path(key), data)

    @contextlib.contextmanager
    def building(self, key: EngineKey) -> Iterator[None]:
        """Hold the lock of a key: of two programs that want the same engine, one builds and the other waits."""
        path = self.folder / f"{key.digest()}.lock"
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EdgebrainError(f"{path} cannot be opened: {error.strerror}.") from error
        try:
            with contextlib.suppress(ImportError, OSError):  # where there are no locks, both build; the last one stays
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)

    def _paths(self, key: EngineKey) -> tuple[Path, Path]:
        name = key.digest()
        return self.folder / f"{name}.engine", self.folder / f"{name}.json"

    def _timing_path(self, key: EngineKey) -> Path:
        device = f"{key.tensorrt}|{key.device}|{key.compute_capability}|{key.cuda_driver}|{key.l4t}"
        return self.folder / f"{hashlib.sha256(device.encode()).hexdigest()[:16]}.timing"

    def _write(self, path: Path, data: bytes) -> None:
        temporary = beside(path)
        try:
            temporary.write_bytes(data)
            put_in_place(temporary, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise EdgebrainError(
                f"{path} cannot be written: {error.strerror}.", remedy="Free some space, or run: edgebrain cache clear"
            ) from error


def _difference(stored: object, key: EngineKey) -> str | None:
    """The first field that differs, in words."""
    wanted = asdict(key)
    if not isinstance(stored, dict) or set(stored) != set(wanted):
        return "other fields than this edgebrain writes"
    for name, value in wanted.items():
        if stored[name] != value:
            return f"{name} {stored[name]!r}, this is {value!r}"
    return None
