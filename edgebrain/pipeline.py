"""Many scans: reading and inference overlapped, memory bounded, order kept, one bad scan is one bad row.

Reader threads decode and prepare (OpenCV and the hash release the interpreter lock), while this thread runs the engine
on whatever is ready. A window bounds how many files are under way. A classifier that was loaded for throughput has it
otherwise: see :mod:`edgebrain.side_by_side`.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from edgebrain import heap
from edgebrain.cpus import usable_cpus
from edgebrain.errors import UsageError
from edgebrain.imaging import cv2
from edgebrain.inputs import Item
from edgebrain.portions import FileUnderWay, in_portions
from edgebrain.readers.raster import quiet
from edgebrain.ready import ReadyScan
from edgebrain.side_by_side import SideBySide
from edgebrain.types import Prediction

if TYPE_CHECKING:
    from edgebrain.classifier import Classifier


def run_pipeline(
    classifier: Classifier, paths: Iterable[Item], *, batch_size: int = 8, readers: int | None = None
) -> Iterator[Prediction]:
    """Classify many files; see :meth:`edgebrain.Classifier.classify_many`.

    Raises:
        UsageError: ``batch_size`` or ``readers`` is below 1.
        EngineFailed: The engine broke.
    """
    readers = usable_cpus() if readers is None else readers
    if batch_size < 1 or readers < 1:
        raise UsageError("The batch size and the number of readers must be at least 1.")
    return _run(classifier, iter(paths), batch_size, readers)


class _OneOpenCVThread:
    """Keeps OpenCV from splitting single resizes while any run reads: its readers share the CPUs already.

    Splitting once more costs a tenth of the throughput. The number is one for the whole process, so that what it was is
    put back when the last run ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._threads = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._threads = cv2.getNumThreads()
                cv2.setNumThreads(1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                cv2.setNumThreads(self._threads)


_one_opencv_thread = _OneOpenCVThread()


def _run(classifier: Classifier, paths: Iterator[Item], batch_size: int, readers: int) -> Iterator[Prediction]:
    heap.share_one_arena()
    pool = ThreadPoolExecutor(max(readers, classifier.workers), thread_name_prefix="edgebrain-read")
    together = None if classifier.workers == 1 else SideBySide(classifier, pool, readers, batch_size)
    with _one_opencv_thread, quiet:  # once for all files, not twice for each
        try:
            if together is None:
                ready = _in_order(classifier, paths, pool, window=readers + batch_size)
                yield from _giving_back(_one_by_one(classifier, ready, batch_size))
            else:
                yield from _giving_back(together.run(paths))
        finally:
            # Also on Ctrl-C and when the caller stops early: what is queued is dropped, what runs is waited for.
            if together is not None:
                together.stop()
            pool.shutdown(wait=True, cancel_futures=True)


def _giving_back(predictions: Iterator[Prediction]) -> Iterator[Prediction]:
    for count, prediction in enumerate(predictions, 1):
        yield prediction
        if count % heap.SCANS_BETWEEN == 0:
            heap.give_back()


def _one_by_one(classifier: Classifier, ready: Iterator[ReadyScan], batch_size: int) -> Iterator[Prediction]:
    while batch := list(itertools.islice(ready, batch_size)):
        yield from classifier.predict(batch)


def _in_order(
    classifier: Classifier, paths: Iterator[Item], pool: ThreadPoolExecutor, window: int
) -> Iterator[ReadyScan]:
    pending: deque[tuple[FileUnderWay, Future[list[ReadyScan] | None]]] = deque()

    def submit() -> None:
        for path in itertools.islice(paths, window - len(pending)):
            file = FileUnderWay(classifier, path)
            pending.append((file, pool.submit(file.whole)))

    submit()
    while pending:
        file, future = pending.popleft()
        submit()
        ready = future.result()
        yield from in_portions(file, pool) if ready is None else ready
