from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

import edgebrain
from edgebrain import Classifier
from edgebrain.errors import EngineFailed, UnreadableScan, UsageError
from edgebrain.inputs import Middle, Partial, Refused
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.pipeline import run_pipeline
from edgebrain.portions import FRAMES_AHEAD
from edgebrain.readers import read_middle
from edgebrain.ready import ReadyScan, Source
from edgebrain.types import Float32, Image8, Prediction

MakeClassifier = Callable[..., Classifier]
TiffBytes = Callable[..., bytes]
Pixels = npt.NDArray[Any]
SCAN = draw_phantom(PhantomSpec(1, side=64))


class Scripted(Classifier):
    """Reads one drawn scan whatever the path is, after doing what the test wants."""

    def __init__(self, base: Classifier, before: Callable[[str], object] = str) -> None:
        super().__init__(base.bundle, base.engine, base.choice)
        self.before = before

    def read(self, source: Source) -> Iterator[ReadyScan]:
        path = str(source)
        self.before(path)
        for ready in super().read(SCAN):
            yield replace(ready, path=path)


def reading_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("edgebrain-read")]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert reading_threads() == []


@pytest.fixture
def fake(make_classifier: MakeClassifier) -> Classifier:
    return make_classifier()


def paths_of(predictions: Iterator[Prediction]) -> list[str]:
    return [prediction.path for prediction in predictions]


@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
@pytest.mark.parametrize("readers", [1, 4])
def test_the_order_is_kept_whatever_the_readers_speed(fake: Classifier, batch_size: int, readers: int) -> None:
    delays = {str(i): d for i, d in enumerate(np.random.default_rng(2).choice([0, 0.002, 0.01], 40))}
    classifier = Scripted(fake, lambda path: time.sleep(delays[path]))
    found = run_pipeline(classifier, iter(delays), batch_size=batch_size, readers=readers)
    assert paths_of(found) == list(delays)


def test_readers_work_at_the_same_time(fake: Classifier) -> None:
    together = threading.Barrier(3, timeout=10)
    classifier = Scripted(fake, lambda _: together.wait())
    found = run_pipeline(classifier, ["a", "b", "c"], batch_size=1, readers=3)
    assert [prediction.status for prediction in found] == ["ok"] * 3


def test_one_bad_scan_is_one_bad_row(fake: Classifier, tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{index}.png") for index in range(7)]
    for path in paths:
        cv2.imwrite(path, SCAN)
    Path(paths[2]).write_bytes(b"not an image")
    Path(paths[4]).write_bytes(Path(paths[4]).read_bytes()[:900])
    Path(paths[5]).unlink()
    cv2.imwrite(paths[6], np.zeros((64, 64), np.uint8))
    refusal = Refused("folder/", UnreadableScan("folder/: no scans."))
    found = list(run_pipeline(fake, [*paths, refusal, paths[0]], batch_size=3, readers=2))
    assert paths_of(iter(found)) == [*paths, "folder/", paths[0]]
    assert [p.status for p in found] == ["ok", "ok", "error", "ok", "error", "error", "error", "error", "ok"]
    for prediction in found:
        assert (prediction.error is None) == (prediction.status == "ok")
        if prediction.error is not None:
            assert prediction.path in prediction.error.message
            assert prediction.triage is None
    assert found[0].probabilities == found[-1].probabilities


def test_no_files_give_no_rows_and_all_bad_files_only_errors(fake: Classifier) -> None:
    assert list(run_pipeline(fake, [])) == []
    found = list(run_pipeline(fake, [f"missing-{i}.png" for i in range(20)], batch_size=4))
    assert [p.error.code for p in found if p.error is not None] == ["unreadable_scan"] * 20


@pytest.mark.parametrize(("batch_size", "readers"), [(1, 1), (8, 2), (4, 4)])
def test_the_files_under_way_are_bounded(
    fake: Classifier, scans_alive: Callable[[], int], batch_size: int, readers: int
) -> None:
    taken = 0

    def paths() -> Iterator[str]:
        nonlocal taken
        for taken in range(1, 301):
            yield str(taken)

    ahead = []
    waiting = []
    for done, _ in enumerate(run_pipeline(Scripted(fake), paths(), batch_size=batch_size, readers=readers), 1):
        ahead.append(taken - done)
        waiting.append(scans_alive())
    assert done == 300
    assert max(ahead) <= readers + 2 * batch_size + 1
    assert 0 < max(waiting) <= readers + 2 * batch_size + 1


def test_a_slow_consumer_stops_the_readers(fake: Classifier) -> None:
    read: list[str] = []
    found = run_pipeline(Scripted(fake, read.append), map(str, range(1000)), batch_size=2, readers=2)
    next(found)
    time.sleep(0.2)
    assert len(read) <= 2 + 2 * 2 + 1
    assert len(paths_of(found)) == 999


@pytest.mark.parametrize("after", [1, 5])
def test_closing_early_shuts_the_threads_down(fake: Classifier, after: int) -> None:
    read: list[str] = []
    found = run_pipeline(Scripted(fake, read.append), map(str, range(10_000)), batch_size=2, readers=3)
    for _ in range(after):
        next(found)
    assert reading_threads()
    found.close()  # type: ignore[attr-defined] # it is a generator
    assert reading_threads() == []
    assert len(read) < 30


def test_nothing_starts_before_the_first_step(fake: Classifier) -> None:
    run_pipeline(Scripted(fake), iter(["a"]))
    assert reading_threads() == []


def test_an_engine_that_breaks_ends_the_run(make_classifier: MakeClassifier) -> None:
    def answer(images: Image8) -> Float32:
        raise EngineFailed(f"broke on {len(images)}")

    with pytest.raises(EngineFailed, match="broke on 8"):
        list(run_pipeline(Scripted(make_classifier(answer)), map(str, range(100)), batch_size=8))
    assert reading_threads() == []


def test_a_fault_in_a_reader_or_in_the_list_is_not_swallowed(fake: Classifier) -> None:
    def fail(path: str) -> None:
        if path == "7":
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        list(run_pipeline(Scripted(fake, fail), map(str, range(20)), batch_size=2))
    with pytest.raises(ZeroDivisionError):
        list(run_pipeline(Scripted(fake), (str(1 // (3 - i)) for i in range(9)), batch_size=2))


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"readers": 0}, {"batch_size": -1}])
def test_senseless_sizes_are_refused_at_once(fake: Classifier, wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        run_pipeline(fake, [], **wrong)


# Files of many frames


def pages(count: int) -> list[Pixels]:
    rng = np.random.default_rng(count)
    return [rng.integers(0, 255, (40, 36), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize("count", [FRAMES_AHEAD - 1, FRAMES_AHEAD, FRAMES_AHEAD + 1, 2 * FRAMES_AHEAD, 150])
def test_long_files_give_every_frame_once_and_in_order(
    fake: Classifier, tmp_path: Path, tiff_bytes: TiffBytes, count: int
) -> None:
    frames = pages(count)
    (tmp_path / "long.tif").write_bytes(tiff_bytes(*frames))
    cv2.imwrite(str(tmp_path / "single.png"), SCAN)
    order = [str(tmp_path / name) for name in ("single.png", "long.tif", "single.png")]
    found = list(run_pipeline(fake, order, batch_size=7, readers=2))
    assert [(p.path, p.frame) for p in found] == [
        (order[0], 0),
        *((order[1], frame) for frame in range(count)),
        (order[2], 0),
    ]
    for index in (0, FRAMES_AHEAD - 2, count - 1):
        assert found[1 + index].probabilities == fake.classify(frames[index]).probabilities


def test_frames_are_prepared_in_bounded_portions(make_classifier: MakeClassifier, tiff_bytes: TiffBytes) -> None:
    data = tiff_bytes(*pages(400))
    prepared = 0

    class Counting(Classifier):
        def read(self, source: Source) -> Iterator[ReadyScan]:
            nonlocal prepared
            for ready in super().read(data if source == "long" else source):
                prepared += 1
                yield ready

    base = make_classifier()
    classifier = Counting(base.bundle, base.engine, base.choice)
    for done, _ in enumerate(run_pipeline(classifier, ["long"], batch_size=4, readers=2), 1):
        assert prepared - done <= 2 * FRAMES_AHEAD + 4
    assert done == 400


@pytest.mark.parametrize("blank", [False, True])
def test_one_answer_for_a_file_of_several_frames_is_refused(
    fake: Classifier, tmp_path: Path, tiff_bytes: TiffBytes, *, blank: bool
) -> None:
    frames = pages(2)
    frames[0] *= not blank
    path = tmp_path / "multi.tif"
    path.write_bytes(tiff_bytes(*frames))
    for source in (path, path.read_bytes()):
        with pytest.raises(UsageError, match=r"has 2 frames.*classify_many"):
            fake.classify(source)
    assert len(list(fake.classify_many([path]))) == 2
    path.write_bytes(tiff_bytes(frames[1]))
    assert fake.classify(path).status == "ok"


class Open(Classifier):
    """Counts the files that are open: read from, and neither at their end nor given up."""

    def __init__(self, base: Classifier) -> None:
        super().__init__(base.bundle, base.engine, base.choice)
        self.lock = threading.Lock()
        self.now = self.most = 0

    def read(self, source: Source) -> Iterator[ReadyScan]:
        self._count(1)
        try:
            yield from super().read(source)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self.lock:
            self.now += change
            self.most = max(self.most, self.now)


@pytest.mark.parametrize("readers", [1, 3])
def test_only_the_file_whose_turn_it_is_stays_open(
    fake: Classifier, tmp_path: Path, tiff_bytes: TiffBytes, readers: int
) -> None:
    count = 2 * FRAMES_AHEAD + 8  # open still when the portion after the first has been read ahead
    paths = [str(tmp_path / f"{index}.tif") for index in range(12)]
    for path in paths:
        Path(path).write_bytes(tiff_bytes(*pages(count)))
    classifier = Open(fake)
    found = run_pipeline(classifier, paths, batch_size=16, readers=readers)
    answered = [(p.path, p.frame) for p in itertools.islice(found, 32)]
    until = time.monotonic() + 10
    while classifier.now > 1 and time.monotonic() < until:
        time.sleep(0.01)  # the readers come to rest
    assert classifier.now == 1
    answered += [(p.path, p.frame) for p in found]
    assert answered == [(path, frame) for path in paths for frame in range(count)]
    assert classifier.now == 0
    assert classifier.most <= readers + 1


def test_waiting_files_hold_no_bytes(fake: Classifier, tmp_path: Path, tiff_bytes: TiffBytes) -> None:
    frame = np.tile(pages(1)[0], (6, 6))
    paths = [str(tmp_path / f"{index}.tif") for index in range(16)]
    for path in paths:
        Path(path).write_bytes(tiff_bytes(*[frame] * (FRAMES_AHEAD + 8)))
    size = Path(paths[0]).stat().st_size
    peaks = []
    for few_or_many in (paths[:1], paths):
        tracemalloc.start()
        try:
            rows = len(list(run_pipeline(fake, few_or_many, batch_size=32, readers=1)))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert rows == len(few_or_many) * (FRAMES_AHEAD + 8)
    # One more file is read, its bytes and their copy, while one is open; each of 16 would make it 30 sizes.
    assert peaks[1] - peaks[0] < 4 * size


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (2, 1), (5, 2), (FRAMES_AHEAD + 6, 35)])
def test_the_middle_frame_speaks_for_a_file(
    fake: Classifier, tmp_path: Path, tiff_bytes: TiffBytes, count: int, expected: int
) -> None:
    frames = pages(count)
    (tmp_path / "f.tif").write_bytes(tiff_bytes(*frames))
    (tmp_path / "bad.png").write_bytes(b"not an image")
    items = [Middle(str(tmp_path / name)) for name in ("f.tif", "bad.png", "f.tif")]
    found = list(run_pipeline(fake, items, batch_size=2))
    assert [(p.frame, p.status) for p in found] == [(expected, "ok"), (0, "error"), (expected, "ok")]
    assert found[0].probabilities == fake.classify(frames[expected]).probabilities
    assert read_middle(items[0].path).frame == expected


def test_a_fault_behind_the_middle_frame_adds_no_row(fake: Classifier, tmp_path: Path, tiff_bytes: TiffBytes) -> None:
    data = tiff_bytes(*pages(4), coding=8)
    first = len(zlib.compress(pages(4)[0].tobytes()))
    whole = bytearray(data)
    start = data.rindex(zlib.compress(pages(4)[3].tobytes())[:64])
    whole[start : start + first // 2] = b"\xff" * (first // 2)
    (tmp_path / "f.tif").write_bytes(whole)
    path = str(tmp_path / "f.tif")
    assert [p.status for p in run_pipeline(fake, [path])] == ["ok", "ok", "ok", "error"]
    assert [(p.frame, p.status) for p in run_pipeline(fake, [Middle(path)])] == [(2, "ok")]


def test_only_the_missing_frames_of_a_partial_file(fake: Classifier, tmp_path: Path, tiff_bytes: TiffBytes) -> None:
    path = tmp_path / "long.tif"
    path.write_bytes(tiff_bytes(*pages(70)))
    found = run_pipeline(fake, [Partial(str(path), frozenset(range(66)))])
    assert [p.frame for p in found] == [66, 67, 68, 69]


def test_a_bad_frame_is_one_bad_row(fake: Classifier, tmp_path: Path, tiff_bytes: TiffBytes) -> None:
    frames = pages(5)
    frames[2] = np.zeros((40, 36), np.uint8)
    (tmp_path / "f.tif").write_bytes(tiff_bytes(*frames))
    found = list(run_pipeline(fake, [str(tmp_path / "f.tif")]))
    assert [(p.frame, p.status) for p in found] == [(0, "ok"), (1, "ok"), (2, "error"), (3, "ok"), (4, "ok")]


# Memory


def test_memory_does_not_grow_with_the_number_of_scans(fake: Classifier, tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{index}.png") for index in range(4)]
    for path in paths:
        cv2.imwrite(path, SCAN)
    found = run_pipeline(fake, itertools.islice(itertools.cycle(paths), 600), batch_size=4, readers=2)

    def used_after(count: int) -> int:
        assert len(list(itertools.islice(found, count))) == count
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early = used_after(200)
        late = used_after(398)  # two short of the end: the same number is under way
    finally:
        tracemalloc.stop()
    assert late - early < 64 * 1024
    assert len(list(found)) == 2


RESIDENT = """
import ctypes, gc, itertools, os, pathlib, sys
from edgebrain import Classifier

def resident():
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", int)
    trim(0)  # glibc keeps or returns 15 MB of what is free, as it comes
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

found = Classifier.load("edge", threads=1).classify_many(itertools.islice(itertools.cycle(sys.argv[1:]), 1010))
used = []
for count in (200, 800):
    assert all(prediction.status == "ok" for prediction in itertools.islice(found, count))
    used.append(resident())
print(used[1] - used[0])
"""


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="this system does not tell a process its memory")
@pytest.mark.skipif(
    not (Path(edgebrain.__file__).parent / "bundles/edge/manifest.json").is_file(),
    reason="the bundle 'edge' is not in this checkout",
)
def test_resident_memory_of_the_real_engine_does_not_grow(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{seed}.png") for seed in range(20)]
    for seed, path in enumerate(paths):
        cv2.imwrite(path, draw_phantom(PhantomSpec(seed)))
    # A process of its own: what other tests have freed would hide growth. PYTHONPATH, so that the checkout is meant.
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT, *paths],
        env={**os.environ, "PYTHONPATH": str(Path(edgebrain.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 3_000_000


def test_batches_side_by_side_give_the_same_records(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{seed}.png") for seed in range(21)]
    for seed, path in enumerate(paths):
        cv2.imwrite(path, draw_phantom(PhantomSpec(seed=seed, side=128)))
    plain = Classifier.load("edge", threads=2)
    together = Classifier.load("edge", threads=2, throughput=True)
    for a, b in zip(plain.classify_many(paths), together.classify_many(paths), strict=True):
        assert (a.path, a.label, a.triage) == (b.path, b.label, b.triage)
        assert b.probabilities == pytest.approx(a.probabilities, abs=1e-5)


def test_a_run_puts_the_threads_of_opencv_back(fake: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), draw_phantom(PhantomSpec(side=64)))
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        assert len(list(fake.classify_many([path]))) == 1
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)
