"""Batches that run side by side, on the threads that read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from edgebrain import Classifier, heap
from edgebrain.errors import EngineFailed
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.pipeline import run_pipeline
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


def test_the_first_batches_start_together(
    make_classifier: MakeClassifier, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = make_classifier()
    classifier.workers = WORKERS
    read: list[str] = []
    read_before: list[int] = []
    really_read, really_predict = classifier.read, classifier.predict

    def reading(source: str) -> list[ReadyScan]:
        ready = list(really_read(source))
        read.append(source)
        return ready

    def predict(batch: list[ReadyScan]) -> list[Prediction]:
        read_before.append(len(read))
        return really_predict(batch)

    monkeypatch.setattr(classifier, "read", lambda source: iter(reading(source)))
    monkeypatch.setattr(classifier, "predict", predict)
    assert len(answers(classifier, paths)) == len(paths)
    assert read_before[0] >= WORKERS * BATCH
    assert len(read_before) == -(-len(paths) // BATCH)


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
