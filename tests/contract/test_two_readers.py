"""A model with a second reader answers like any other, and asks it about what it is meant to read only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edgebrain.bundle import Artifact, GraphSpec, SecondReader
from edgebrain.classifier import READ_TWICE, Classifier
from edgebrain.engines import Engine, EngineInfo
from edgebrain.engines.two_readers import TwoReaders, called, in_doubt, read_together
from edgebrain.errors import EngineFailed
from edgebrain.types import Float32, Image8, Precision, Triage

ROLES = ("logits", "outlier", "readers", "contradicted")
LOGITS = npst.arrays(np.float32, (5, 4), elements=st.floats(-20, 20, width=32))
SPEC = SecondReader(
    id="other",
    version="1",
    artifact=Artifact("second.onnx", "onnxruntime", Precision.FP32, "0" * 64, 0),
    graph=GraphSpec(),
    margin=1.0,
    weight=0.5,
    outlier_shift=0.25,
)


class Scripted:
    """An engine that gives the logits it was told, by the first pixel of each image, and counts what it is shown."""

    info = EngineInfo("scripted", "none", "fp32", 1, "1")

    def __init__(self, table: Float32) -> None:
        self.table = table
        self.shown: list[int] = []
        self.batches: list[int] = []
        self.closed = False

    def run(self, images: Image8) -> dict[str, Float32]:
        which = images[:, 0, 0, 0].tolist()
        self.shown += which
        self.batches.append(len(which))
        return {"logits": self.table[which], "outlier": self.table[which, 0]}

    def close(self) -> None:
        self.closed = True


def numbered(count: int) -> Image8:
    images = np.zeros((count, 1, 8, 8), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return images


def readers(first: Float32, second: Float32, negative: int | None = None) -> tuple[TwoReaders, Scripted]:
    other = Scripted(second)
    return TwoReaders(Scripted(first), lambda: other, SPEC, first.shape[1], negative), other


@given(first=LOGITS, second=LOGITS)
def test_only_doubtful_images_are_read_twice(first: Float32, second: Float32) -> None:
    engine, other = readers(first, second)
    found = engine.run(numbered(5))
    ordered = np.sort(first, axis=1)
    doubtful = ordered[:, -1] - ordered[:, -2] < 1
    assert other.shown == np.flatnonzero(doubtful).tolist()
    assert set(other.batches) <= {1}
    assert found["readers"].tolist() == (1 + doubtful).tolist()
    assert np.array_equal(found["logits"][~doubtful], first[~doubtful])
    expected = (first[doubtful].astype(np.float64) + second[doubtful]) / 2
    assert found["logits"][doubtful] == pytest.approx(expected, abs=1e-5)
    assert np.array_equal(found["outlier"][~doubtful], first[~doubtful, 0])
    strangest = np.maximum(first, second)[doubtful, 0]
    assert found["outlier"][doubtful] == pytest.approx(strangest + 0.25)
    assert {values.dtype for values in found.values()} == {np.dtype(np.float32)}


@given(first=LOGITS, second=LOGITS, negative=st.integers(0, 3))
def test_what_the_first_calls_negative_is_the_second_ones_to_say(
    first: Float32, second: Float32, negative: int
) -> None:
    engine, other = readers(first, second, negative)
    found, usual = engine.run(numbered(5)), readers(first, second)[0].run(numbered(5))
    negatives = called(first, negative)
    doubtful = usual["readers"] == 2
    left = negatives & ~doubtful
    assert other.shown == np.flatnonzero(left | doubtful).tolist()
    assert found["readers"].tolist() == (1 + (left | doubtful)).tolist()
    assert np.array_equal(found["logits"][left], second[left])
    assert found["contradicted"].tolist() == (left & (second.argmax(axis=1) != negative)).tolist()
    assert "contradicted" not in usual
    assert np.array_equal(found["logits"][~left], usual["logits"][~left])
    # A doubt is a sign of a strange picture, and a negative answer is none.
    assert np.array_equal(found["outlier"][left], np.maximum(first, second)[left, 0])
    assert np.array_equal(found["outlier"][~left], usual["outlier"][~left])
    assert {values.dtype for values in found.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("ways", [2, 4])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_of_the_first_is_not_replaced_by_an_answer_of_the_second(wrong: float, ways: int) -> None:
    """Whoever takes the outputs must see it: an engine that gives such numbers is broken."""
    second = np.eye(ways, dtype=np.float32)[:1]
    for negative in range(ways):
        for place in range(ways):
            first = np.zeros((1, ways), np.float32)
            first[0, place] = wrong
            for logits in (first, np.full_like(first, wrong)):
                found = readers(logits, second, negative)[0].run(numbered(1))
                assert not np.isfinite(found["logits"]).all()
                assert found["contradicted"].tolist() == [0]


def test_what_is_no_number_of_the_second_is_refused_for_a_negative_too() -> None:
    engine, _ = readers(np.array([[9, 0]], np.float32), np.full((1, 2), np.nan, np.float32), negative=0)
    with pytest.raises(EngineFailed, match="not finite"):
        engine.run(numbered(1))


@given(first=LOGITS, second=LOGITS, negative=st.none() | st.integers(0, 3), role=st.sampled_from(ROLES))
def test_neither_batch_nor_order_changes_an_answer(
    first: Float32, second: Float32, negative: int | None, role: str
) -> None:
    def answers(images: Image8) -> Float32:
        return readers(first, second, negative)[0].run(images).get(role, np.zeros(len(images), np.float32))

    together, backwards = answers(numbered(5)), answers(numbered(5)[::-1])[::-1]
    alone = np.concatenate([answers(numbered(5)[i : i + 1]) for i in range(5)])
    assert np.array_equal(together, backwards)
    assert np.array_equal(together, alone)


@given(logits=LOGITS, margin=st.floats(0.001, 50))
def test_a_wider_margin_doubts_no_less(logits: Float32, margin: float) -> None:
    assert (in_doubt(logits, margin) <= in_doubt(logits, margin * 2)).all()


def test_a_number_that_is_none_is_a_doubt() -> None:
    assert in_doubt(np.array([[np.nan, 0], [9, 0]], np.float32), 1).tolist() == [True, False]


@given(first=LOGITS, second=LOGITS)
def test_a_weight_of_one_is_the_second_alone(first: Float32, second: Float32) -> None:
    assert np.array_equal(read_together(first, second, 1.0), second)


def test_the_second_is_opened_once_and_only_when_it_is_needed() -> None:
    opened = []

    def open_second() -> Engine:
        opened.append(1)
        time.sleep(0.05)  # time enough for the others to come, too
        return Scripted(np.zeros((2, 4), np.float32))

    sure, unsure = np.array([[9, 0, 0, 0]], np.float32), np.zeros((1, 4), np.float32)
    engine = TwoReaders(Scripted(np.concatenate([sure, unsure])), open_second, SPEC, 4)
    engine.run(numbered(2)[:1])
    assert not opened
    threads = [threading.Thread(target=engine.run, args=(numbered(2),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1


def test_closing_closes_both_and_a_closed_one_runs_no_more() -> None:
    engine, other = readers(np.zeros((2, 4), np.float32), np.zeros((2, 4), np.float32))
    engine.run(numbered(2))
    engine.close()
    engine.close()
    assert other.closed
    with pytest.raises(EngineFailed, match="closed"):
        engine.run(numbered(2))


def test_logits_of_another_shape_are_refused_by_the_name_of_the_file() -> None:
    right, wrong = np.zeros((2, 4), np.float32), np.zeros((2, 3), np.float32)
    with pytest.raises(EngineFailed, match=r"second\.onnx gives logits \(2, 3\) instead of \(2, 4\)"):
        readers(right, wrong)[0].run(numbered(2))
    engine = TwoReaders(Scripted(wrong), lambda: Scripted(right), SPEC, 4)
    with pytest.raises(EngineFailed, match=r"first network gives logits \(2, 3\) instead of \(2, 4\)"):
        engine.run(numbered(2))


def test_numbers_of_the_second_that_are_none_are_not_taken_for_the_first_ones() -> None:
    engine, _ = readers(np.zeros((2, 4), np.float32), np.full((2, 4), np.nan, np.float32))
    with pytest.raises(EngineFailed, match=r"second reader second\.onnx gives \w+ that are not finite"):
        engine.run(numbered(2))


def test_a_contradiction_is_in_the_record(make_classifier: Callable[..., Classifier]) -> None:
    """A scan that the first network calls negative, and the second something else."""
    usual = make_classifier()
    labels, negative = usual.bundle.manifest.labels, usual.bundle.manifest.negative_label
    which = labels.index(str(negative))
    first, second = (np.eye(len(labels), dtype=np.float32)[[k]] * 9 for k in (which, which - 1))
    classifier = make_classifier()
    classifier.engine = TwoReaders(Scripted(first), lambda: Scripted(second), SPEC, len(labels), which)
    scan = np.zeros((64, 64), np.uint16)
    scan[16:48, 16:48] = np.arange(32 * 32).reshape(32, 32)
    found = classifier.classify(scan)
    assert found.label == labels[which - 1]
    assert found.triage is Triage.CANNOT_ASSESS
    assert found.reasons[0].startswith("one network is sure of no tumour, the other finds ")
    assert found.reasons[-1] == READ_TWICE
