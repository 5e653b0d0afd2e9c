"""What ONNX Runtime is asked for; what it answers is in the contract of all engines."""

from __future__ import annotations

from types import SimpleNamespace

import onnxruntime
import pytest

from edgebrain.engines import ort
from edgebrain.engines.base import EngineOptions
from edgebrain.errors import EngineUnavailable


class Runtime:
    """As much of ONNX Runtime as has to do with arenas."""

    SessionOptions = onnxruntime.SessionOptions
    OrtAllocatorType = SimpleNamespace(ORT_ARENA_ALLOCATOR="arena")
    OrtMemType = SimpleNamespace(DEFAULT="default")

    def __init__(self, error: Exception | None = None) -> None:
        self.registered: list[tuple[object, object]] = []
        self._error = error

    def OrtMemoryInfo(self, *told: object) -> object:  # noqa: N802 - its name there
        return told

    def OrtArenaCfg(self, *numbers: int) -> object:  # noqa: N802 - its name there
        return numbers

    def create_and_register_allocator(self, memory: object, numbers: object) -> None:
        self.registered.append((memory, numbers))
        if self._error is not None:
            raise self._error


def test_all_sessions_of_a_process_take_memory_from_one_arena() -> None:
    runtime = Runtime()
    for _ in range(3):
        settings = ort._session_options(runtime, EngineOptions(threads=1))
        assert settings.enable_cpu_mem_arena
        assert settings.get_session_config_entry("session.use_env_allocators") == "1"
    assert runtime.registered == [(("Cpu", "arena", 0, "default"), (0, -1, -1, -1))]


def test_an_allocator_that_somebody_else_registered_serves_as_well() -> None:
    # Up to 1.22 there can be only one; the words are those of 1.22.1.
    runtime = Runtime(
        RuntimeError(
            "Error when creating and registering allocator: "
            "An allocator for this device has already been registered for sharing."
        )
    )
    for _ in range(2):
        ort._session_options(runtime, EngineOptions(threads=1))
    assert len(runtime.registered) == 1


def test_any_other_failure_is_told() -> None:
    with pytest.raises(EngineUnavailable, match="out of memory"):
        ort._session_options(Runtime(RuntimeError("out of memory")), EngineOptions(threads=1))
