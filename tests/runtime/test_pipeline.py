from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import threading
import time
import tracemalloc
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
from edgebrain.inputs import Refused
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.pipeline import run_pipeline
from edgebrain.readers import raster
from edgebrain.ready import ReadyScan, Source
from edgebrain.types import Float32, Image8, Prediction

MakeClassifier = Callable[..., Classifier]
Threads = Callable[[], list[str]]
Pixels = npt.NDArray[Any]
SCAN = draw_phantom(PhantomSpec(1, side=64))
pytestmark = pytest.mark.usefixtures("_no_reader_is_left")


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
def test_closing_early_shuts_the_threads_down(fake: Classifier, after: int, reading_threads: Threads) -> None:
    read: list[str] = []
    found = run_pipeline(Scripted(fake, read.append), map(str, range(10_000)), batch_size=2, readers=3)
    for _ in range(after):
        next(found)
    assert reading_threads()
    found.close()  # type: ignore[attr-defined] # it is a generator
    assert reading_threads() == []
    assert len(read) < 30


def test_nothing_starts_before_the_first_step(fake: Classifier, reading_threads: Threads) -> None:
    run_pipeline(Scripted(fake), iter(["a"]))
    assert reading_threads() == []


def test_an_engine_that_breaks_ends_the_run(make_classifier: MakeClassifier, reading_threads: Threads) -> None:
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


def test_a_run_silences_the_log_of_opencv_once(
    fake: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENCV_LOG_LEVEL", raising=False)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), draw_phantom(PhantomSpec(side=64)))
    levels: list[int] = []

    def note(level: int) -> int:
        levels.append(level)
        return 3

    monkeypatch.setattr(raster, "_set_log_level", note)
    assert len(list(fake.classify_many([path] * 9))) == 9
    assert levels == [0, 3]
