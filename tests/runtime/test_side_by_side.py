"""Batches that run side by side, on the threads that read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgebrain import Classifier, heap
from edgebrain.errors import EngineFailed
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.pipeline import _side_by_side, run_pipeline
from edgebrain.ready import ReadyScan
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


class Predicting:
    """A classifier whose first batches wait for each other, and that notes what happens."""

    workers = WORKERS

    def __init__(self) -> None:
        self.events: list[str] = []
        self._together = threading.Barrier(WORKERS)

    def batches(self, count: int) -> Iterator[list[str]]:
        for number in range(count):
            self.events.append(f"read {number}")
            yield [str(number)]

    def predict(self, batch: list[str]) -> list[str]:
        if int(batch[0]) < WORKERS:
            self._together.wait(timeout=30)
        self.events.append("predicted")
        return batch


def test_the_first_batches_run_together_and_none_before_all_of_them_are_read() -> None:
    fake: Any = Predicting()
    with ThreadPoolExecutor(WORKERS) as pool:
        found: list[Any] = list(_side_by_side(fake, fake.batches(5), pool))
    assert found == list("01234")
    assert fake.events[:WORKERS] == [f"read {number}" for number in range(WORKERS)]
    assert fake.events.count("predicted") == len(found)


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
