"""Memory of an NVIDIA GPU through a torch that the program has loaded already; it is never imported here."""

from __future__ import annotations

from typing import Any

from edgebrain.engines.cuda_memory import Gpu
from edgebrain.types import Image8


class TorchCuda:
    """A torch that the program has loaded already."""

    source = "torch"

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._stream = torch.cuda.Stream()
        self.stream = int(self._stream.cuda_stream)
        found = torch.cuda.get_device_properties(0)
        major, _, minor = str(torch.version.cuda).partition(".")
        self.gpu = Gpu(
            name=str(found.name),
            compute_capability=f"{found.major}.{found.minor}",
            sms=int(found.multi_processor_count),
            memory_bytes=int(found.total_memory),
            l2_bytes=int(getattr(found, "L2_cache_size", 0)),
            integrated=bool(getattr(found, "is_integrated", False)),
            ecc=False,
            runtime=int(major) * 1000 + int(minor) * 10,  # as CUDA writes versions
            driver=0,
        )

    def staging(self, size: int) -> TorchStaging:
        """See :class:`Cuda`."""
        return TorchStaging(self._torch, self._stream, size)

    def synchronize(self) -> None:
        """See :class:`Cuda`."""
        self._stream.synchronize()

    def close(self) -> None:
        """Do nothing: torch frees what nobody refers to."""


class TorchStaging:
    """Two tensors; see :class:`Staging`."""

    def __init__(self, torch: Any, stream: Any, size: int) -> None:
        self._torch, self._stream = torch, stream
        self._device = torch.empty(size, dtype=torch.uint8, device="cuda")
        self._pinned = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        self.address = int(self._device.data_ptr())
        self.host: Image8 = self._pinned.numpy()

    def upload(self, size: int) -> None:
        """See :class:`Staging`."""
        with self._torch.cuda.stream(self._stream):
            self._device[:size].copy_(self._pinned[:size], non_blocking=True)

    def download(self, size: int) -> None:
        """See :class:`Staging`."""
        with self._torch.cuda.stream(self._stream):
            self._pinned[:size].copy_(self._device[:size], non_blocking=True)
