"""Batches that run side by side, on the threads that read."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

from edgebrain import Classifier, heap, side_by_side
from edgebrain.errors import EngineFailed, UnreadableScan
from edgebrain.inputs import Item, Middle, Partial, Refused
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.pipeline import run_pipeline
from edgebrain.portions import FRAMES_AHEAD
from edgebrain.ready import ReadyScan, Source
from edgebrain.side_by_side import _Shares
from edgebrain.types import Prediction

MakeClassifier = Callable[..., Classifier]
TiffBytes = Callable[..., bytes]
WORKERS, BATCH = 2, 4
AHEAD = 2 * BATCH
TURN = 2 * WORKERS
pytestmark = pytest.mark.usefixtures("_no_reader_is_left", "_short_shares")


@pytest.fixture
def _short_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares of two batches, so that a few files make several of them."""
    monkeypatch.setattr(side_by_side, "READ_AHEAD", AHEAD)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    found = [str(tmp_path / f"{seed}.png") for seed in range(22)]
    for seed, path in enumerate(found):
        cv2.imwrite(path, draw_phantom(PhantomSpec(seed=seed % 3, side=64)))
    return found


def answers(classifier: Classifier, paths: list[str]) -> list[tuple[str, dict[str, float]]]:
    found = run_pipeline(classifier, paths, batch_size=BATCH, readers=2)
    return [(prediction.path, prediction.probabilities) for prediction in found]


@pytest.mark.parametrize("count", [0, 1, BATCH, AHEAD, WORKERS * AHEAD, WORKERS * AHEAD + 1, 22])
def test_any_number_of_files_gives_the_same_records_in_the_same_order(
    make_classifier: MakeClassifier, paths: list[str], count: int
) -> None:
    together = make_classifier()
    together.workers = WORKERS
    assert answers(together, paths[:count]) == answers(make_classifier(), paths[:count])


class Noting(Classifier):
    """Notes what happens; its first batches wait for each other."""

    def __init__(self, base: Classifier) -> None:
        super().__init__(base.bundle, base.engine, base.choice, WORKERS)
        self.events: list[str] = []
        self._together = threading.Barrier(WORKERS)

    def read(self, source: Source) -> Iterator[ReadyScan]:
        self.events.append("read")
        yield from super().read(source)

    def predict(self, ready: list[ReadyScan]) -> list[Prediction]:
        first = self.events.count("predicted") == 0
        if first:
            self._together.wait(timeout=30)
        self.events.append("predicted")
        return super().predict(ready)


def test_the_first_batches_run_together_and_none_before_all_of_them_are_read(
    make_classifier: MakeClassifier, paths: list[str]
) -> None:
    noting = Noting(make_classifier())
    assert [path for path, _ in answers(noting, paths)] == paths
    assert noting.events.index("predicted") >= WORKERS * BATCH


@pytest.mark.parametrize("count", range(0, 90, 3))
def test_shares_grow_at_first_and_shrink_evenly_towards_the_end(count: int) -> None:
    names = [str(number) for number in range(count)]
    shares = list(_Shares(iter(names), WORKERS, first=BATCH, most=AHEAD, turn=TURN))
    assert list(itertools.chain(*shares)) == names
    sizes = [len(share) for share in shares]
    assert all(1 <= size <= (BATCH if turn < TURN else AHEAD) for turn, size in enumerate(sizes))
    largest = sizes.index(max(sizes, default=0)) if sizes else 0
    assert sizes[largest:] == sorted(sizes[largest:], reverse=True)
    assert not sizes or sizes[0] == min(BATCH, math.ceil(count / WORKERS))
    assert count < TURN * BATCH + 2 * WORKERS * AHEAD or sizes[TURN : TURN + WORKERS] == [AHEAD] * WORKERS


def test_the_first_record_waits_for_few_names(make_classifier: MakeClassifier, paths: list[str]) -> None:
    asked = 0

    def names() -> Iterator[str]:
        nonlocal asked
        for name in itertools.cycle(paths):
            asked += 1
            yield name

    classifier = make_classifier()
    classifier.workers = WORKERS
    found = run_pipeline(classifier, names(), batch_size=BATCH, readers=WORKERS)
    next(found)
    assert asked <= (TURN + WORKERS) * BATCH
    found.close()  # type: ignore[attr-defined] # it is a generator


def test_shares_stay_small_where_names_are_slow_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def names() -> Iterator[str]:
        nonlocal now
        for number in itertools.count():
            now += 1.0 if number > 30 * AHEAD else 0.0
            yield str(number)

    shares = _Shares(names(), WORKERS, first=BATCH, most=AHEAD, turn=TURN)
    sizes = [len(next(shares)) for _ in range(60)]
    assert max(sizes[:TURN]) == BATCH
    assert max(sizes[TURN:20]) == AHEAD
    assert max(sizes[40:]) == BATCH


@pytest.mark.parametrize("size", [1, 3, BATCH, AHEAD - 1, AHEAD, AHEAD + 1])
def test_batches_are_full_whatever_their_size(make_classifier: MakeClassifier, paths: list[str], size: int) -> None:
    base, sizes = make_classifier(), []

    class Counting(Classifier):
        def predict(self, ready: list[ReadyScan]) -> list[Prediction]:
            sizes.append(len(ready))
            return super().predict(ready)

    counting = Counting(base.bundle, base.engine, base.choice, WORKERS)
    many = list(itertools.islice(itertools.cycle(paths), 100 * size))
    assert sum(1 for _ in run_pipeline(counting, many, batch_size=size, readers=WORKERS)) == 100 * size
    assert sizes.count(size) >= 100 - 2 * WORKERS * math.ceil(AHEAD / size)


@pytest.mark.parametrize("readers", [1, 2, 8])
def test_no_more_batches_run_at_a_time_than_there_are_workers(
    make_classifier: MakeClassifier, paths: list[str], monkeypatch: pytest.MonkeyPatch, readers: int
) -> None:
    classifier = make_classifier()
    classifier.workers = WORKERS
    predict, lock, now, most = classifier.predict, threading.Lock(), 0, 0

    def counted(ready: list[ReadyScan]) -> list[Prediction]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.002)
        with lock:
            now -= 1
        return predict(ready)

    monkeypatch.setattr(classifier, "predict", counted)
    assert len(list(run_pipeline(classifier, paths * 4, batch_size=BATCH, readers=readers))) == 4 * len(paths)
    assert most == WORKERS


def test_many_readers_read_at_the_same_time(make_classifier: MakeClassifier, paths: list[str]) -> None:
    readers = 6
    together = threading.Barrier(readers - WORKERS, timeout=30)

    class Waiting(Classifier):
        def read(self, source: Source) -> Iterator[ReadyScan]:
            if source == paths[0]:
                together.wait()
            yield from super().read(source)

    base = make_classifier()
    waiting = Waiting(base.bundle, base.engine, base.choice, WORKERS)
    order = [paths[1]] * WORKERS + [paths[0]] * (readers - WORKERS) + [paths[1]] * 9
    assert len(list(run_pipeline(waiting, order, batch_size=1, readers=readers))) == len(order)


@pytest.mark.parametrize("good", [0, 3, 13, 40])
def test_what_comes_before_a_list_that_breaks_off_is_classified(
    make_classifier: MakeClassifier, paths: list[str], good: int
) -> None:
    def broken() -> Iterator[str]:
        yield from itertools.islice(itertools.cycle(paths), good)
        raise ConnectionError("the list ended")

    classifier = make_classifier()
    classifier.workers = WORKERS
    found: list[Prediction] = []
    with pytest.raises(ConnectionError, match="the list ended"):
        found.extend(run_pipeline(classifier, broken(), batch_size=BATCH, readers=WORKERS))
    assert len(found) == good


def test_closing_early_ends_after_the_file_that_is_being_read(
    make_classifier: MakeClassifier, paths: list[str]
) -> None:
    """The second round of shares waits in its first file until the run is closed."""
    closed, waiting, after = threading.Event(), threading.Event(), []

    class Slow(Noting):
        def read(self, source: Source) -> Iterator[ReadyScan]:
            if self.events.count("read") >= WORKERS * BATCH:
                waiting.set()
                closed.wait(30)
            after.append(closed.is_set())
            yield from super().read(source)

        def predict(self, ready: list[ReadyScan]) -> list[Prediction]:
            assert not closed.is_set()
            return super().predict(ready)

    slow = Slow(make_classifier())
    found = run_pipeline(slow, itertools.cycle(paths), batch_size=BATCH, readers=WORKERS)
    next(found)
    assert waiting.wait(30)
    threading.Timer(0.05, closed.set).start()
    found.close()  # type: ignore[attr-defined] # it is a generator
    assert sum(after) <= WORKERS


def test_scans_are_let_go_when_they_are_classified(
    make_classifier: MakeClassifier, paths: list[str], scans_alive: Callable[[], int]
) -> None:
    classifier = make_classifier()
    classifier.workers = WORKERS
    found = run_pipeline(classifier, itertools.islice(itertools.cycle(paths), 200), batch_size=BATCH, readers=WORKERS)
    alive = [scans_alive() for _ in found]
    assert max(alive[20:]) <= WORKERS * AHEAD
    assert alive[-1] == 0


def test_files_of_many_frames_do_not_pile_up(
    make_classifier: MakeClassifier, tmp_path: Path, tiff_bytes: TiffBytes, scans_alive: Callable[[], int]
) -> None:
    frames, files = 6, 60
    path = tmp_path / "six.tif"
    path.write_bytes(tiff_bytes(*(draw_phantom(PhantomSpec(seed=seed % 3, side=40)) for seed in range(frames))))
    alive: list[int] = []

    class Counting(Classifier):
        def read(self, source: Source) -> Iterator[ReadyScan]:
            alive.append(scans_alive())
            yield from super().read(source)

    base = make_classifier()
    counting = Counting(base.bundle, base.engine, base.choice, WORKERS)
    found = run_pipeline(counting, [str(path)] * files, batch_size=BATCH, readers=WORKERS)
    assert sum(1 for _ in found) == frames * files
    assert max(alive) < WORKERS * (AHEAD + frames)


@pytest.mark.parametrize("batch_size", [1, BATCH])
def test_every_kind_of_item_has_its_place(
    make_classifier: MakeClassifier, paths: list[str], tmp_path: Path, tiff_bytes: TiffBytes, batch_size: int
) -> None:
    frames = [draw_phantom(PhantomSpec(seed=number % 3, side=40)) for number in range(5)]
    path = str(tmp_path / "five.tif")
    Path(path).write_bytes(tiff_bytes(*frames))
    gone = Refused("gone/", UnreadableScan("gone/: no scans."))
    items: list[Item] = [paths[0], Middle(path), gone, Partial(path, frozenset({0, 1, 4})), paths[1]]
    together = make_classifier()
    together.workers = WORKERS
    found = run_pipeline(together, items, batch_size=batch_size, readers=WORKERS)
    expected = [(paths[0], 0), (path, 2), ("gone/", 0), (path, 2), (path, 3), (paths[1], 0)]
    assert [(prediction.path, prediction.frame) for prediction in found] == expected


def test_long_and_short_files_keep_their_order(
    make_classifier: MakeClassifier, paths: list[str], tmp_path: Path, tiff_bytes: TiffBytes
) -> None:
    count = 2 * FRAMES_AHEAD + 5
    frames = [draw_phantom(PhantomSpec(seed=number % 3, side=40)) for number in range(count)]
    long, short = str(tmp_path / "long.tif"), str(tmp_path / "short.tif")
    Path(long).write_bytes(tiff_bytes(*frames))
    Path(short).write_bytes(tiff_bytes(*frames[:7]))
    order = [long, *paths[:3], short, long, paths[4]]
    together = make_classifier()
    together.workers = WORKERS
    found = run_pipeline(together, order, batch_size=BATCH, readers=1)
    expected = [(path, frame) for path in order for frame in range({long: count, short: 7}.get(path, 1))]
    assert [(prediction.path, prediction.frame) for prediction in found] == expected


def test_an_engine_that_breaks_ends_the_run(
    make_classifier: MakeClassifier, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = make_classifier()
    classifier.workers = WORKERS

    def broken(_: list[ReadyScan]) -> list[Prediction]:
        raise EngineFailed("gone")

    monkeypatch.setattr(classifier, "predict", broken)
    with pytest.raises(EngineFailed, match="gone"):
        answers(classifier, paths)


@pytest.mark.parametrize("good", [0, 1, 5, 11])
def test_what_was_answered_before_an_engine_breaks_is_kept(
    make_classifier: MakeClassifier, paths: list[str], good: int
) -> None:
    base = make_classifier()
    broken = str(Path(paths[0]).with_name("broken.png"))
    Path(broken).write_bytes(Path(paths[0]).read_bytes())

    class Breaking(Classifier):
        def predict(self, ready: list[ReadyScan]) -> list[Prediction]:
            if any(one.path == broken for one in ready):
                raise EngineFailed("gone")
            return super().predict(ready)

    order = list(itertools.islice(itertools.cycle(paths), 60 * BATCH))
    at = TURN * BATCH + 3 * AHEAD + good * BATCH  # where shares are longer than a batch
    order[at] = broken
    found: list[Prediction] = []
    with pytest.raises(EngineFailed, match="gone"):
        found.extend(
            run_pipeline(
                Breaking(base.bundle, base.engine, base.choice, WORKERS), order, batch_size=BATCH, readers=WORKERS
            )
        )
    assert [one.path for one in found] == order[:at]


@pytest.mark.parametrize("workers", [1, WORKERS])
def test_freed_memory_is_given_back_now_and_then(
    make_classifier: MakeClassifier, paths: list[str], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    classifier = make_classifier()
    classifier.workers = workers
    given: list[int] = []
    monkeypatch.setattr(heap, "SCANS_BETWEEN", 2 * BATCH)
    monkeypatch.setattr(heap, "give_back", lambda: given.append(1))
    answers(classifier, paths)
    assert len(given) == len(paths) // (2 * BATCH)
