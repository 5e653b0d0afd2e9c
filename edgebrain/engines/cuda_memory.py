"""Memory of an NVIDIA GPU without pycuda: ``cuda.bindings``, else a torch that is loaded already, else libcudart.

The eight functions of the CUDA runtime that are needed are the same in all CUDA 12 and 13 (NVIDIA CUDA Runtime API,
sections Memory Management, Stream Management and Device Management). torch is never imported here: a program that has
it in memory may already hold the GPU's memory through it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edgebrain.errors import EngineFailed, EngineUnavailable
from edgebrain.types import Image8

_TO_DEVICE, _TO_HOST = 1, 2
_ATTRIBUTES = {"sms": 16, "integrated": 18, "ecc": 32, "l2_bytes": 38, "major": 75, "minor": 76}
"""cudaDeviceAttr by what we call them."""
_LIBRARIES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so")
_NAME_BYTES = 256
_PROPERTIES_BYTES = 8192
"""More than any version of cudaDeviceProp, whose first field is the name in all of them."""

Call = Callable[..., tuple[Any, ...]]


@dataclass(frozen=True)
class Gpu:
    """What makes a compiled engine fit a GPU, or not.

    Attributes:
        name: Name of the device.
        compute_capability: ``8.7`` for instance.
        sms: Streaming multiprocessors.
        memory_bytes: Total memory.
        l2_bytes: Second-level cache.
        integrated: Whether it shares the memory of the CPU.
        ecc: Whether its memory corrects errors.
        runtime: Version of the CUDA runtime.
        driver: Newest CUDA that the driver knows.
    """

    name: str
    compute_capability: str
    sms: int
    memory_bytes: int
    l2_bytes: int
    integrated: bool
    ecc: bool
    runtime: int
    driver: int


class Staging(Protocol):
    """A pinned host buffer and a device buffer of the same size."""

    host: Image8
    """uint8 [size]: what is uploaded, and what was downloaded."""
    address: int
    """Where it lies on the device."""

    def upload(self, size: int) -> None:
        """Start copying the first bytes to the device."""

    def download(self, size: int) -> None:
        """Start copying the first bytes from the device."""


class Cuda(Protocol):
    """A device with a stream of its own."""

    source: str
    gpu: Gpu
    stream: int

    def staging(self, size: int) -> Staging:
        """Allocate."""
        ...

    def synchronize(self) -> None:
        """Wait for the stream."""

    def close(self) -> None:
        """Free everything."""


def open_cuda() -> Cuda:
    """Open device 0.

    Raises:
        EngineUnavailable: There is no way to its memory, or no device.
    """
    try:
        runtime: Any = importlib.import_module("cuda.bindings.runtime")
    except ImportError:
        torch: Any = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            from edgebrain.engines.cuda_torch import TorchCuda

            return TorchCuda(torch)
        return RuntimeCuda("libcudart", ctypes_call(_load_cudart()))
    return RuntimeCuda("cuda.bindings", bindings_call(runtime))


def bindings_call(runtime: Any) -> Call:
    """Functions of ``cuda.bindings.runtime``; they return an error code and values."""

    def call(name: str, *arguments: Any) -> tuple[Any, ...]:
        if name == "cudaMemcpyAsync":
            arguments = (*arguments[:3], runtime.cudaMemcpyKind(arguments[3]), arguments[4])
        if name == "cudaDeviceGetAttribute":
            arguments = (runtime.cudaDeviceAttr(arguments[0]), arguments[1])
        error, *values = getattr(runtime, name)(*arguments)
        _check(name, int(error))
        return tuple(v.name if name == "cudaGetDeviceProperties" else v for v in values)

    return call


def _load_cudart() -> Any:
    for name in _LIBRARIES:
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    raise EngineUnavailable(
        "The memory of the GPU cannot be reached: there is neither cuda.bindings nor libcudart.",
        remedy="Install one: pip install 'cuda-python>=12.9,<13' on JetPack 6, 'cuda-python>=13' on JetPack 7.",
    )


_OUTPUTS: dict[str, tuple[Any, ...]] = {
    "cudaMalloc": (ctypes.c_void_p,),
    "cudaMallocHost": (ctypes.c_void_p,),
    "cudaStreamCreate": (ctypes.c_void_p,),
    "cudaDeviceGetAttribute": (ctypes.c_int,),
    "cudaMemGetInfo": (ctypes.c_size_t, ctypes.c_size_t),
    "cudaRuntimeGetVersion": (ctypes.c_int,),
    "cudaDriverGetVersion": (ctypes.c_int,),
    "cudaGetDeviceProperties": (ctypes.c_char * _PROPERTIES_BYTES,),
}
_WIDE = frozenset({"cudaMalloc", "cudaMallocHost", "cudaFree", "cudaFreeHost", "cudaStreamSynchronize"})
"""Functions whose first plain argument is a pointer or a size: 64 bits, where ctypes would pass 32."""


def ctypes_call(library: Any) -> Call:
    """Functions of libcudart; outputs come first, as pointers."""

    def call(name: str, *arguments: Any) -> tuple[Any, ...]:
        outputs = [kind() for kind in _OUTPUTS.get(name, ())]
        plain: list[Any] = list(arguments)
        if name == "cudaMemcpyAsync":
            target, source, size, kind, stream = arguments
            plain = [_pointer(target), _pointer(source), ctypes.c_size_t(size), kind, _pointer(stream)]
        elif name in _WIDE or name == "cudaStreamDestroy":
            plain = [ctypes.c_size_t(arguments[0])]
        _check(name, int(getattr(library, name)(*(ctypes.byref(o) for o in outputs), *plain)))
        return tuple(o.raw[:_NAME_BYTES] if name == "cudaGetDeviceProperties" else o.value for o in outputs)

    return call


def _pointer(value: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(int(value))


def _check(name: str, error: int) -> None:
    if error:
        raise EngineFailed(
            f"{name} failed with CUDA error {error}.",
            remedy="35 means no driver or too old a one, 2 too little memory, 100 no device.",
        )


class RuntimeCuda:
    """The CUDA runtime through functions that return values or raise."""

    def __init__(self, source: str, call: Call) -> None:
        self.source = source
        self._call = call
        self._buffers: list[tuple[int, int]] = []
        try:
            self.gpu = self._look()
            self.stream = int(call("cudaStreamCreate")[0])
        except EngineFailed as error:
            raise EngineUnavailable(f"There is no usable GPU: {error.message}", remedy=error.remedy) from error

    def _look(self) -> Gpu:
        found = {name: int(self._call("cudaDeviceGetAttribute", code, 0)[0]) for name, code in _ATTRIBUTES.items()}
        name = bytes(self._call("cudaGetDeviceProperties", 0)[0]).partition(b"\0")[0]
        return Gpu(
            name=name.decode("utf-8", "replace"),
            compute_capability=f"{found['major']}.{found['minor']}",
            sms=found["sms"],
            memory_bytes=int(self._call("cudaMemGetInfo")[1]),
            l2_bytes=found["l2_bytes"],
            integrated=bool(found["integrated"]),
            ecc=bool(found["ecc"]),
            runtime=int(self._call("cudaRuntimeGetVersion")[0]),
            driver=int(self._call("cudaDriverGetVersion")[0]),
        )

    def staging(self, size: int) -> RuntimeStaging:
        """See :class:`Cuda`."""
        device = int(self._call("cudaMalloc", size)[0])
        try:
            host = int(self._call("cudaMallocHost", size)[0])
        except EngineFailed:
            self._call("cudaFree", device)
            raise
        self._buffers.append((device, host))
        return RuntimeStaging(self._call, self.stream, device, host, size)

    def synchronize(self) -> None:
        """See :class:`Cuda`."""
        self._call("cudaStreamSynchronize", self.stream)

    def close(self) -> None:
        """See :class:`Cuda`."""
        buffers, self._buffers = self._buffers, []
        for device, host in buffers:
            self._call("cudaFree", device)
            self._call("cudaFreeHost", host)
        if self.stream:
            self._call("cudaStreamDestroy", self.stream)
            self.stream = 0


class RuntimeStaging:
    """Two buffers of the CUDA runtime; see :class:`Staging`."""

    def __init__(self, call: Call, stream: int, device: int, host: int, size: int) -> None:
        self._call, self._stream, self._pinned = call, stream, host
        self.address = device
        self.host: Image8 = np.frombuffer(memoryview((ctypes.c_uint8 * size).from_address(host)), np.uint8)

    def upload(self, size: int) -> None:
        """See :class:`Staging`."""
        self._call("cudaMemcpyAsync", self.address, self._pinned, size, _TO_DEVICE, self._stream)

    def download(self, size: int) -> None:
        """See :class:`Staging`."""
        self._call("cudaMemcpyAsync", self._pinned, self.address, size, _TO_HOST, self._stream)
