"""The work there is: decoding alone, and the graph alone, with nothing around them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

Bytes8 = npt.NDArray[np.uint8]
BATCHES = (1, 4, 8, 16, 32)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of some work."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def decode_all(encoded: Sequence[Bytes8], threads: int) -> None:
    """Decode every file, each by the thread that is free first; nothing is kept.

    Shares dealt out in advance would leave a thread idle whose files are small, and make the floor higher than it is.
    """
    waiting = iter(encoded)

    def work() -> None:
        for data in waiting:
            cv2.imdecode(data, cv2.IMREAD_UNCHANGED)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


class BareGraph:
    """A session as ONNX Runtime makes it, and tensors that are ready.

    Args:
        graph: The file.
        images: uint8 [N, 1, H, W].
        threads: Threads of an inference.
    """

    def __init__(self, graph: bytes, images: Bytes8, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._images = images
        self.batch = min(BATCHES, key=lambda size: min(seconds(lambda: self._run(size)) for _ in range(3)))
        """The batch size that is fastest here."""

    def run(self) -> None:
        """Run all images through, in the best batches; only the logits are asked for."""
        self._run(self.batch)

    def _run(self, batch: int) -> None:
        for start in range(0, len(self._images), batch):
            self._session.run(["logits"], {self._input: self._images[start : start + batch]})
