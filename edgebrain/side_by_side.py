"""Batches side by side: every thread reads, prepares and classifies some files from beginning to end.

A scan that changes threads between reading and inference costs two wake-ups and a wait for the interpreter lock, as
much time as finding its head. Here a thread that has read scans runs them, and nothing is handed over but the records.
It reads a few batches before it runs them, which takes a twentieth less time than one after the other: most likely
decoder and graph push each other out of a processor's caches, and so do it less often (docs/decisions/0031).
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from edgebrain.errors import EngineFailed
from edgebrain.inputs import Item
from edgebrain.portions import FileUnderWay, in_portions
from edgebrain.ready import ReadyScan
from edgebrain.types import Prediction

if TYPE_CHECKING:
    from edgebrain.classifier import Classifier

_ROUNDS = 2
"""Shares a thread that are under way: one is worked on, and one waits while the records of others are written."""
READ_AHEAD = 32
"""Scans that a thread reads before it runs them. More are no quicker, and are held in memory all the same."""
_SLOW = 0.1
"""Seconds. A list whose next names take longer comes from somewhere that is slower than we are, and its records should
not wait for names that are still to come."""


class _Done(NamedTuple):
    """What came of a share: answers, and files that wait for their turn; and why it ends early, if it does."""

    found: list[Prediction | FileUnderWay]
    failure: EngineFailed | None = None


class SideBySide:
    """Runs the batches of a classifier that was loaded for throughput.

    Args:
        classifier: Has several workers: that many batches run at a time, however many threads read.
        pool: At least as many threads.
        readers: Threads that read at a time, where they are more than the workers.
        batch_size: Scans that the engine gets at a time, at most.
    """

    def __init__(self, classifier: Classifier, pool: ThreadPoolExecutor, readers: int, batch_size: int) -> None:
        self._classifier = classifier
        self._pool = pool
        self._size = batch_size
        self._ahead = max(1, READ_AHEAD // batch_size) * batch_size
        self._under_way = max(_ROUNDS * classifier.workers, readers)
        self._engine = threading.BoundedSemaphore(classifier.workers)
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let threads that read end after the file that they are at; what they have read is not run."""
        self._stopped.set()

    def run(self, paths: Iterator[Item]) -> Iterator[Prediction]:
        """Classify files; a record a frame, in the order given.

        Raises:
            EngineFailed: The engine broke.
        """
        workers = self._classifier.workers
        shares = _Shares(paths, workers, self._size, self._ahead, self._under_way)
        # The first ones run together: an engine that has once run as many batches at a time as it ever will holds the
        # memory for that, so that a run does not grow later, whenever two batches happen to be at their peaks together.
        first = [iter(share) for share in itertools.islice(shares, workers)]
        reading = [self._pool.submit(self._read, items) for items in first]
        read = [future.result() for future in reading]
        running = deque(self._pool.submit(self._go_on, *one) for one in zip(first, read, strict=True))
        del first, reading, read  # or their scans would stay in memory for the whole run
        self._begin(running, itertools.islice(shares, self._under_way - workers))
        while running:
            done = running.popleft().result()
            for one in done.found:
                if isinstance(one, FileUnderWay):
                    yield from self._long(one)
                else:
                    yield one
            if done.failure is not None:
                raise done.failure
            self._begin(running, itertools.islice(shares, 1))
        shares.raise_failure()

    def _begin(self, running: deque[Future[_Done]], shares: Iterable[list[Item]]) -> None:
        running.extend(self._pool.submit(self._classify, share) for share in shares)

    def _classify(self, share: list[Item]) -> _Done:
        items = iter(share)
        return self._go_on(items, self._read(items))

    def _go_on(self, items: Iterator[Item], read: list[ReadyScan | FileUnderWay]) -> _Done:
        """Run the engine on what was read, and then read and run what is left of a share."""
        found: list[Prediction | FileUnderWay] = []
        while read:
            try:
                for one in self._predict(read):
                    found.append(one)  # noqa: PERF402 - what was found before a failure must stay
            except EngineFailed as error:
                return _Done(found, error)
            read.clear()  # or its scans would stay in memory while more are read
            read = self._read(items)
        return _Done(found)

    def _read(self, items: Iterator[Item]) -> list[ReadyScan | FileUnderWay]:
        """Read files until enough scans are ready; one of many frames stays as it is, until its turn has come."""
        found: list[ReadyScan | FileUnderWay] = []
        while len(found) < self._ahead and not self._stopped.is_set():
            item = next(items, None)
            if item is None:
                break
            file = FileUnderWay(self._classifier, item)
            ready = file.whole()
            found += [file] if ready is None else ready
        return found

    def _predict(self, read: list[ReadyScan | FileUnderWay]) -> Iterator[Prediction | FileUnderWay]:
        """Run the engine on what was read; files that wait for their turn stay in their places."""
        for _, group in itertools.groupby(read, lambda one: isinstance(one, FileUnderWay)):
            some = list(group)
            yield from (one for one in some if isinstance(one, FileUnderWay))
            for batch in _batches((one for one in some if isinstance(one, ReadyScan)), self._size):
                if self._stopped.is_set():
                    return
                yield from self._run(batch)

    def _run(self, batch: list[ReadyScan]) -> list[Prediction]:
        with self._engine:
            return self._classifier.predict(batch)

    def _long(self, file: FileUnderWay) -> Iterator[Prediction]:
        """The frames of a long file: a batch for every thread at a time."""
        batches = _batches(in_portions(file, self._pool), self._size)
        while together := list(itertools.islice(batches, self._classifier.workers)):
            running = [self._pool.submit(self._run, batch) for batch in together]
            for future in running:
                yield from future.result()


class _Shares(Iterator[list[Item]]):
    """Shares of files: small ones at first, so that records come soon, then larger ones, which cost less.

    Towards the end they get smaller again, so that no thread has the last files alone. Where files are slow to be
    named, shares are small, too.

    Args:
        paths: The files. Where they break off with an error, those before it are shared out nevertheless.
        threads: How many share them.
        first: Files of a share at first, at most.
        most: Files of a share at last, at most.
        turn: After so many shares, the next ones may be twice as large.
    """

    def __init__(self, paths: Iterator[Item], threads: int, first: int, most: int, turn: int) -> None:
        self._paths = paths
        self._threads = threads
        self._first = first
        self._most = most
        self._turn = turn
        self._size = first
        self._given = 0
        self._ahead: list[Item] = []
        self._failure: Exception | None = None

    def __next__(self) -> list[Item]:
        began = time.monotonic()
        self._look_ahead(self._threads * self._size)
        if time.monotonic() - began > _SLOW:
            self._size, self._given = self._first, 0
        if not self._ahead:
            raise StopIteration
        count = min(self._size, math.ceil(len(self._ahead) / self._threads))
        share, self._ahead = self._ahead[:count], self._ahead[count:]
        self._given += 1
        if self._given % self._turn == 0:
            self._size = min(self._most, 2 * self._size)
        return share

    def raise_failure(self) -> None:
        """Raise what the files broke off with, if they did."""
        if self._failure is not None:
            raise self._failure

    def _look_ahead(self, count: int) -> None:
        try:
            while self._failure is None and len(self._ahead) < count:
                self._ahead.append(next(self._paths))
        except StopIteration:
            pass
        except Exception as error:  # noqa: BLE001 - whatever the caller's files break off with is raised later
            self._failure = error


def _batches(ready: Iterable[ReadyScan], size: int) -> Iterator[list[ReadyScan]]:
    rest = iter(ready)
    while batch := list(itertools.islice(rest, size)):
        yield batch
