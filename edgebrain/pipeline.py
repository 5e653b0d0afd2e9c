"""Many scans: reading and inference overlapped, memory bounded, order kept, one bad scan is one bad row.

Reader threads decode and prepare (OpenCV and the hash release the interpreter lock), while this thread runs the engine
on whatever is ready. A window bounds how many files are under way; only their prepared inputs (a few kB each) wait,
never decoded images.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from edgebrain.classifier import ReadyScan, refused
from edgebrain.device import usable_cpus
from edgebrain.errors import UsageError
from edgebrain.imaging import cv2
from edgebrain.inputs import Item, Partial, Refused
from edgebrain.types import Prediction

if TYPE_CHECKING:
    from edgebrain.classifier import Classifier

FRAMES_AHEAD = 64
"""Frames of a multi-frame file that are prepared at a time; longer files are read on where they stopped."""


class _File:
    """One file under way: hands out its frames in bounded portions."""

    def __init__(self, classifier: Classifier, item: Item) -> None:
        if isinstance(item, Refused):
            self._frames = iter([refused(item.path, item.error)])
        elif isinstance(item, Partial):
            self._frames = (ready for ready in classifier.read(item.path) if ready.frame not in item.done)
        else:
            self._frames = classifier.read(item)

    def portion(self) -> list[ReadyScan]:
        """The next frames, at most FRAMES_AHEAD; an empty list at the end of the file."""
        return list(itertools.islice(self._frames, FRAMES_AHEAD))


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
    batch: list[ReadyScan] = []
    pool = ThreadPoolExecutor(readers, thread_name_prefix="edgebrain-read")
    with _one_opencv_thread:
        try:
            for ready in _in_order(classifier, paths, pool, window=readers + batch_size):
                batch.append(ready)
                if len(batch) == batch_size:
                    yield from classifier.predict(batch)
                    batch = []
            if batch:
                yield from classifier.predict(batch)
        finally:
            # Also on Ctrl-C and when the caller stops early: what is queued is dropped, what runs is waited for.
            pool.shutdown(wait=True, cancel_futures=True)


def _in_order(
    classifier: Classifier, paths: Iterator[Item], pool: ThreadPoolExecutor, window: int
) -> Iterator[ReadyScan]:
    pending: deque[tuple[_File, Future[list[ReadyScan]]]] = deque()

    def submit() -> None:
        for path in itertools.islice(paths, window - len(pending)):
            file = _File(classifier, path)
            pending.append((file, pool.submit(file.portion)))

    submit()
    while pending:
        file, future = pending.popleft()
        submit()
        portion = future.result()
        while portion:
            following = pool.submit(file.portion) if len(portion) == FRAMES_AHEAD else None
            yield from portion
            portion = following.result() if following else []
