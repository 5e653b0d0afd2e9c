"""What ONNX Runtime is asked for; what it answers is in the contract of all engines."""

from __future__ import annotations

from types import SimpleNamespace

import onnxruntime
import pytest

from edgebrain.engines import ort
from edgebrain.engines.base import EngineOptions


class Runtime:
    """As much of ONNX Runtime as has to do with arenas."""

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


class Refused(Exception):
    """One of ONNX Runtime's exceptions."""

    __module__ = "onnxruntime.capi.onnxruntime_pybind11_state"


def test_all_sessions_of_a_process_take_memory_from_one_arena() -> None:
    for _ in range(2):
        settings = ort._session_options(onnxruntime, EngineOptions(threads=1))
        assert settings.enable_cpu_mem_arena
        assert settings.get_session_config_entry("session.use_env_allocators") == "1"


def test_the_arena_is_registered_once() -> None:
    runtime = Runtime()
    for _ in range(3):
        ort._share_one_arena(runtime)
    assert runtime.registered == [(("Cpu", "arena", 0, "default"), (0, -1, -1, -1))]


def test_an_arena_that_another_user_of_the_runtime_registered_serves_as_well() -> None:
    runtime = Runtime(Refused("already registered"))
    ort._share_one_arena(runtime)
    assert len(runtime.registered) == 1


def test_any_other_failure_is_not_hidden() -> None:
    with pytest.raises(TypeError, match="incompatible"):
        ort._share_one_arena(Runtime(TypeError("incompatible constructor arguments")))
