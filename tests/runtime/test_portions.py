"""Files of many frames: whole where they are short, in bounded portions where they are long."""

from __future__ import annotations

import itertools
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edgebrain import Classifier
from edgebrain.errors import UsageError
from edgebrain.inputs import Middle, Partial
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.pipeline import run_pipeline
from edgebrain.portions import FRAMES_AHEAD
from edgebrain.readers import read_middle
from edgebrain.ready import ReadyScan, Source

MakeClassifier = Callable[..., Classifier]
TiffBytes = Callable[..., bytes]
Pixels = npt.NDArray[Any]
pytestmark = pytest.mark.usefixtures("_no_reader_is_left")


def pages(count: int) -> list[Pixels]:
    rng = np.random.default_rng(count)
    return [rng.integers(0, 255, (40, 36), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize("count", [FRAMES_AHEAD - 1, FRAMES_AHEAD, FRAMES_AHEAD + 1, 2 * FRAMES_AHEAD, 150])
def test_long_files_give_every_frame_once_and_in_order(
    fake: Classifier, tmp_path: Path, tiff_bytes: TiffBytes, count: int
) -> None:
    frames = pages(count)
    (tmp_path / "long.tif").write_bytes(tiff_bytes(*frames))
    cv2.imwrite(str(tmp_path / "single.png"), draw_phantom(PhantomSpec(1, side=64)))
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
