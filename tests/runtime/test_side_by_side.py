"""Batches that run side by side, on the threads that read."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

from edgebrain import Classifier, heap
from edgebrain.errors import EngineFailed
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.pipeline import run_pipeline
from edgebrain.portions import FRAMES_AHEAD
from edgebrain.ready import ReadyScan, Source
from edgebrain.side_by_side import _shares
from edgebrain.types import Prediction

MakeClassifier = Callable[..., Classifier]
WORKERS, BATCH = 2, 4


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    found = [str(tmp_path / f"{seed}.png") for seed in range(22)]
    for seed, path in enumerate(found):
        cv2.imwrite(path, draw_phantom(PhantomSpec(seed=seed % 3, side=64)))
    return found


def answers(classifier: Classifier, paths: list[str]) -> list[tuple[str, dict[str, float]]]:
    found = run_pipeline(classifier, paths, batch_size=BATCH, readers=2)
    return [(prediction.path, prediction.probabilities) for prediction in found]


@pytest.mark.parametrize("count", [0, 1, BATCH, WORKERS * BATCH, WORKERS * BATCH + 1, 22])
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


@pytest.mark.parametrize("count", range(0, 40, 3))
def test_files_are_shared_out_evenly_towards_the_end(count: int) -> None:
    names = [str(number) for number in range(count)]
    shares = list(_shares(iter(names), WORKERS, BATCH))
    assert list(itertools.chain(*shares)) == names
    assert all(1 <= len(share) <= BATCH for share in shares)
    assert [len(share) for share in shares] == sorted((len(share) for share in shares), reverse=True)
    assert not shares or len(shares[0]) == min(BATCH, math.ceil(count / WORKERS))


def test_closing_early_ends_after_the_files_that_are_being_read(
    make_classifier: MakeClassifier, paths: list[str]
) -> None:
    noting = Noting(make_classifier())
    found = run_pipeline(noting, itertools.cycle(paths), batch_size=BATCH, readers=WORKERS)
    next(found)
    found.close()  # type: ignore[attr-defined] # it is a generator
    assert len(noting.events) < 8 * WORKERS * BATCH
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edgebrain-read")]


def test_long_and_short_files_keep_their_order(
    make_classifier: MakeClassifier, paths: list[str], tmp_path: Path, tiff_bytes: Callable[..., bytes]
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
