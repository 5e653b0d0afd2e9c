"""The three ways to the memory of a GPU do the same; a runtime on the memory of the CPU stands in for CUDA."""

from __future__ import annotations

import ctypes
import importlib
import sys
import types
from typing import Any

import numpy as np
import pytest

from edgebrain.engines import cuda_memory
from edgebrain.engines.cuda_memory import RuntimeCuda, ctypes_call, open_cuda
from edgebrain.engines.cuda_torch import TorchCuda
from edgebrain.errors import EngineFailed, EngineUnavailable


class Library:
    """libcudart as ctypes shows it: outputs first, through pointers."""

    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime

    def __getattr__(self, name: str) -> Any:
        def function(*arguments: Any) -> int:
            plain = [a for a in arguments if not hasattr(a, "_obj")]
            outputs = [a._obj for a in arguments if hasattr(a, "_obj")]
            values = [a.value if isinstance(a, ctypes._SimpleCData) else a for a in plain]
            error, *found = getattr(self.runtime, name)(*values)
            for output, value in zip(outputs, found, strict=bool(not error)):
                if name == "cudaGetDeviceProperties":
                    output[: len(value.name)] = value.name
                else:
                    output.value = value
            return int(error)

        return function


@pytest.fixture(params=["cuda.bindings", "libcudart"])
def cuda(request: pytest.FixtureRequest, cudart: Any, monkeypatch: pytest.MonkeyPatch) -> RuntimeCuda:
    if request.param == "libcudart":
        monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
        monkeypatch.setattr(cuda_memory, "_load_cudart", lambda: Library(cudart))
    opened = open_cuda()
    assert opened.source == request.param
    assert isinstance(opened, RuntimeCuda)
    return opened


def test_the_device_is_described(cuda: RuntimeCuda) -> None:
    gpu = cuda.gpu
    assert (gpu.name, gpu.compute_capability, gpu.sms) == ("Orin", "8.7", 16)
    assert (gpu.memory_bytes, gpu.l2_bytes, gpu.integrated, gpu.ecc) == (8 << 30, 4 << 20, True, False)
    assert (gpu.runtime, gpu.driver) == (12060, 12060)


def test_bytes_go_there_and_come_back(cuda: RuntimeCuda) -> None:
    staging = cuda.staging(64)
    staging.host[:] = np.arange(64)
    staging.upload(64)
    on_device = (ctypes.c_uint8 * 64).from_address(staging.address)
    assert list(on_device) == list(range(64))
    staging.host[:] = 0
    staging.download(16)
    cuda.synchronize()
    assert staging.host.tolist() == [*range(16), *[0] * 48]


def test_everything_is_freed_once(cuda: RuntimeCuda, cudart: Any) -> None:
    for size in (1, 1000):
        cuda.staging(size)
    assert len(cudart.live) == 4
    cuda.close()
    cuda.close()
    assert (cudart.live, cudart.streams) == ({}, set())


def test_a_buffer_that_fails_half_way_is_freed(cuda: RuntimeCuda, cudart: Any) -> None:
    cudart.errors["cudaMallocHost"] = 2
    with pytest.raises(EngineFailed, match="CUDA error 2"):
        cuda.staging(8)
    assert cudart.live == {}


def test_no_driver_is_unavailable(cudart: Any) -> None:
    cudart.errors["cudaDeviceGetAttribute"] = 35
    with pytest.raises(EngineUnavailable, match="no usable GPU"):
        RuntimeCuda("libcudart", ctypes_call(Library(cudart)))


def test_without_any_way_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(ctypes, "CDLL", no_library)
    with pytest.raises(EngineUnavailable, match=r"neither cuda\.bindings nor libcudart") as caught:
        open_cuda()
    assert "JetPack 6" in str(caught.value)


class Tensor:
    """As much of a torch tensor as is used."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def data_ptr(self) -> int:
        return int(self.values.ctypes.data)

    def numpy(self) -> Any:
        return self.values

    def __getitem__(self, part: slice) -> Tensor:
        return Tensor(self.values[part])

    def copy_(self, other: Tensor, *, non_blocking: bool) -> None:
        assert non_blocking
        self.values[...] = other.values


class Stream:
    cuda_stream = 9

    def synchronize(self) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_a_torch_in_memory_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = types.SimpleNamespace(name="Orin", major=8, minor=7, multi_processor_count=16, total_memory=1 << 33)
    torch: Any = types.SimpleNamespace(
        uint8="uint8",
        version=types.SimpleNamespace(cuda="12.6"),
        empty=lambda size, **_: Tensor(np.zeros(size, np.uint8)),
        cuda=types.SimpleNamespace(
            is_available=lambda: True,
            Stream=Stream,
            stream=lambda stream: stream,
            get_device_properties=lambda _: properties,
        ),
    )
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    monkeypatch.setitem(sys.modules, "torch", torch)
    cuda = open_cuda()
    assert isinstance(cuda, TorchCuda)
    assert (cuda.gpu.compute_capability, cuda.gpu.runtime, cuda.stream) == ("8.7", 12060, 9)
    staging = cuda.staging(8)
    staging.host[:] = 3
    staging.upload(4)
    staging.host[:] = 0
    staging.download(8)
    cuda.synchronize()
    assert staging.host.tolist() == [3, 3, 3, 3, 0, 0, 0, 0]
    cuda.close()


def test_the_names_exist_in_the_published_bindings() -> None:
    try:
        runtime = importlib.import_module("cuda.bindings.runtime")
    except ImportError:
        pytest.skip("cuda.bindings is not installed")
    used = {*cuda_memory._OUTPUTS, "cudaFree", "cudaFreeHost", "cudaMemcpyAsync", "cudaStreamSynchronize"}
    assert [name for name in used if not hasattr(runtime, name)] == []
