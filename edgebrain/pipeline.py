"""Many scans: reading and inference overlapped, memory bounded, order kept, one bad scan is one bad row.

Reader threads decode and prepare (OpenCV and the hash release the interpreter lock), while this thread runs the engine
on whatever is ready; of a classifier that was loaded for throughput, the same threads run its batches, side by side.
A window bounds how many files are under way; only prepared inputs (a few kB a frame, of at most
FRAMES_AHEAD frames a file) wait for their turn, never decoded images or the bytes of a file. A file of more frames is
closed after its first one and read when its turn has come, so that one such file is open, whatever the window.
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
from edgebrain.inputs import Item, Middle, Partial, Refused
from edgebrain.readers import middle
from edgebrain.ready import ReadyScan, refused
from edgebrain.types import Prediction

if TYPE_CHECKING:
    from edgebrain.classifier import Classifier

FRAMES_AHEAD = 64
"""Frames of a file that are prepared before they are asked for; files of more wait for their turn, closed."""


class _File:
    """One file under way: short ones come whole, long ones in bounded portions."""

    def __init__(self, classifier: Classifier, item: Item) -> None:
        self._classifier = classifier
        self._item = item
        self._rest: Iterator[ReadyScan] = iter(())

    def whole(self) -> list[ReadyScan] | None:
        """All frames of a file of at most FRAMES_AHEAD; None for a longer one, of which nothing is kept."""
        frames = self._read()
        first = list(itertools.islice(frames, 1))
        if first and first[0].scan is not None and first[0].scan.frames > FRAMES_AHEAD:
            return None
        return list(_wanted(self._item, itertools.chain(first, frames)))

    def open(self) -> None:
        """Start a long file from its beginning; it stays open between portions."""
        self._rest = _wanted(self._item, self._read())

    def portion(self) -> list[ReadyScan]:
        """The next frames of an opened file, at most FRAMES_AHEAD; an empty list at its end."""
        return list(itertools.islice(self._rest, FRAMES_AHEAD))

    def _read(self) -> Iterator[ReadyScan]:
        item = self._item
        if isinstance(item, Refused):
            return iter([refused(item.path, item.error)])
        return self._classifier.read(item if isinstance(item, str) else item.path)


def _wanted(item: Item, frames: Iterator[ReadyScan]) -> Iterator[ReadyScan]:
    if isinstance(item, Partial):
        return (ready for ready in frames if ready.frame not in item.done)
    if isinstance(item, Middle):
        found = (ready for ready in frames if ready.scan is None or ready.frame == middle(ready.scan.frames))
        return itertools.islice(found, 1)  # what comes behind it is not looked at
    return frames


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
    workers = classifier.workers
    heap.share_one_arena()
    pool = ThreadPoolExecutor(max(readers, workers), thread_name_prefix="edgebrain-read")
    with _one_opencv_thread:
        try:
            ready = _in_order(classifier, paths, pool, window=readers + batch_size * workers)
            batches = _batches(ready, batch_size)
            if workers == 1:
                for batch in batches:
                    yield from classifier.predict(batch)
            else:
                yield from _side_by_side(classifier, batches, pool)
        finally:
            # Also on Ctrl-C and when the caller stops early: what is queued is dropped, what runs is waited for.
            pool.shutdown(wait=True, cancel_futures=True)


def _batches(ready: Iterator[ReadyScan], size: int) -> Iterator[list[ReadyScan]]:
    since = 0
    while batch := list(itertools.islice(ready, size)):
        since += len(batch)
        if since >= heap.SCANS_BETWEEN:
            heap.give_back()
            since = 0
        yield batch


def _side_by_side(
    classifier: Classifier, batches: Iterator[list[ReadyScan]], pool: ThreadPoolExecutor
) -> Iterator[Prediction]:
    # The first ones start together: an engine that has once run as many batches at a time as it ever will holds the
    # memory for that, so that a run does not grow later, whenever two batches happen to be at their peaks together.
    first = list(itertools.islice(batches, classifier.workers))
    running = deque(pool.submit(classifier.predict, batch) for batch in first)
    del first  # or its scans would stay in memory for the whole run
    while running:
        yield from running.popleft().result()
        running.extend(pool.submit(classifier.predict, batch) for batch in itertools.islice(batches, 1))


def _in_order(
    classifier: Classifier, paths: Iterator[Item], pool: ThreadPoolExecutor, window: int
) -> Iterator[ReadyScan]:
    pending: deque[tuple[_File, Future[list[ReadyScan] | None]]] = deque()

    def submit() -> None:
        for path in itertools.islice(paths, window - len(pending)):
            file = _File(classifier, path)
            pending.append((file, pool.submit(file.whole)))

    submit()
    while pending:
        file, future = pending.popleft()
        submit()
        ready = future.result()
        yield from _in_portions(file, pool) if ready is None else ready


def _in_portions(file: _File, pool: ThreadPoolExecutor) -> Iterator[ReadyScan]:
    file.open()
    portion = pool.submit(file.portion).result()
    while portion:
        following = pool.submit(file.portion) if len(portion) == FRAMES_AHEAD else None
        yield from portion
        portion = following.result() if following else []
