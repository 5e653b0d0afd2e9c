"""Batches side by side: every thread reads, prepares and classifies some files from beginning to end.

A scan that changes threads between reading and inference costs two wake-ups and a wait for the interpreter lock, as
much time as finding its head. Here a thread that has read a batch runs it, and nothing is handed over but the records.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from edgebrain.inputs import Item
from edgebrain.portions import FileUnderWay, in_portions
from edgebrain.ready import ReadyScan
from edgebrain.types import Prediction

if TYPE_CHECKING:
    from edgebrain.classifier import Classifier

_ROUNDS = 2
"""Batches a thread that are under way: one that runs, and one that waits while the records of others are written."""


class SideBySide:
    """Runs the batches of a classifier that was loaded for throughput.

    Args:
        classifier: Has several workers.
        pool: At least as many threads.
        batch_size: Scans that the engine gets at a time, at most.
    """

    def __init__(self, classifier: Classifier, pool: ThreadPoolExecutor, batch_size: int) -> None:
        self._classifier = classifier
        self._pool = pool
        self._size = batch_size
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let threads that read end after the file that they are at."""
        self._stopped.set()

    def run(self, paths: Iterator[Item]) -> Iterator[Prediction]:
        """Classify files; a record a frame, in the order given.

        Raises:
            EngineFailed: The engine broke.
        """
        workers = self._classifier.workers
        shares = _shares(paths, workers, self._size)
        # The first ones run together: an engine that has once run as many batches at a time as it ever will holds the
        # memory for that, so that a run does not grow later, whenever two batches happen to be at their peaks together.
        first = [self._pool.submit(self._read, share) for share in itertools.islice(shares, workers)]
        read = [future.result() for future in first]
        running = deque(self._pool.submit(self._predict, one) for one in read)
        del first, read  # or their scans would stay in memory for the whole run
        self._begin(running, itertools.islice(shares, (_ROUNDS - 1) * workers))
        while running:
            found = running.popleft().result()
            self._begin(running, itertools.islice(shares, 1))
            for one in found:
                if isinstance(one, FileUnderWay):
                    yield from self._long(one)
                else:
                    yield one

    def _begin(self, running: deque[Future[list[Prediction | FileUnderWay]]], shares: Iterable[list[Item]]) -> None:
        running.extend(self._pool.submit(self._classify, share) for share in shares)

    def _classify(self, share: list[Item]) -> list[Prediction | FileUnderWay]:
        return self._predict(self._read(share))

    def _read(self, share: list[Item]) -> list[ReadyScan | FileUnderWay]:
        """Read files; one of many frames stays as it is, until its turn has come."""
        found: list[ReadyScan | FileUnderWay] = []
        for item in share:
            if self._stopped.is_set():
                break
            file = FileUnderWay(self._classifier, item)
            ready = file.whole()
            found += [file] if ready is None else ready
        return found

    def _predict(self, read: list[ReadyScan | FileUnderWay]) -> list[Prediction | FileUnderWay]:
        """Run the engine on what was read; files that wait for their turn stay in their places."""
        found: list[Prediction | FileUnderWay] = []
        for _, group in itertools.groupby(read, lambda one: isinstance(one, FileUnderWay)):
            some = list(group)
            found += (one for one in some if isinstance(one, FileUnderWay))
            for batch in _batches((one for one in some if isinstance(one, ReadyScan)), self._size):
                found += self._classifier.predict(batch)
        return found

    def _long(self, file: FileUnderWay) -> Iterator[Prediction]:
        """The frames of a long file: a batch for every thread at a time."""
        batches = _batches(in_portions(file, self._pool), self._size)
        while together := list(itertools.islice(batches, self._classifier.workers)):
            running = [self._pool.submit(self._classifier.predict, batch) for batch in together]
            for future in running:
                yield from future.result()


def _shares(paths: Iterator[Item], workers: int, size: int) -> Iterator[list[Item]]:
    """Share files out: as many as a batch takes, fewer towards the end, so that no thread has the last ones alone."""
    ahead: list[Item] = []
    while True:
        ahead += itertools.islice(paths, workers * size - len(ahead))
        if not ahead:
            return
        count = min(size, math.ceil(len(ahead) / workers))
        yield ahead[:count]
        del ahead[:count]


def _batches(ready: Iterable[ReadyScan], size: int) -> Iterator[list[ReadyScan]]:
    rest = iter(ready)
    while batch := list(itertools.islice(rest, size)):
        yield batch
