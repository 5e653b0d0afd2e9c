"""How much work a scan takes, counted instead of timed: a busy machine does not change it, a careless change does.

The figures are what it takes today. One that falls is good news: write the new one down here, so that it stays.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

import edgebrain
from edgebrain import Classifier, preprocessing, resizing
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.pipeline import run_pipeline
from edgebrain.results.writers import open_writer

MakeClassifier = Callable[..., Classifier]
Pixels = npt.NDArray[Any]

SCANS, BATCH, SIDE = 24, 8, 512
A_SCAN = {
    "files opened": 1,
    "reads": 1,
    "hashes": 1,
    "decodes": 1,
    "preprocessings": 1,
    "means of four columns": 1,  # the small copy that the head is found on
    "resizes": 2,  # the graph's input by a whole factor, and what is left
    "records written": 1,
}
"""Calls that every small grey scan of one frame takes."""
IMAGES_ALIVE = {"grey": 1.0, "colour": 4.0, "16 bit": 11.0, "grey in a colour JPEG": 1.0}
"""Most memory at any moment while a scan is read and prepared, in bytes a pixel, the file and small things left out.

Grey: the decoded image and nothing else. Colour: three channels and their grey. 16 bit: two bytes a pixel, the
float64 in which percentiles are mapped, and the result. Of a JPEG whose colours say nothing, only the luma is decoded.
"""
SMALL = 0.75
"""Bytes a pixel that everything smaller than an image may take."""
PYTHON_CALLS = 122
"""Functions of ours that are entered for a scan, from file to record, in a batch of eight; an upper limit, because
newer versions of Python enter fewer."""


def scan_of(kind: str) -> Pixels:
    grey = draw_phantom(PhantomSpec(seed=3, side=SIDE))
    if "colour" in kind:
        return np.dstack([grey, grey, grey])
    return grey.astype(np.uint16) * 257 if kind == "16 bit" else grey


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    data = cv2.imencode(".png", scan_of("grey"))[1].tobytes()
    paths = [tmp_path / f"{number}.png" for number in range(SCANS)]
    for path in paths:
        path.write_bytes(data)
    return [str(path) for path in paths]


class Counted:
    """Counts calls of functions while they do what they always do; several threads call them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls: Counter[str] = Counter()
        self._patch = patch
        self._lock = threading.Lock()

    def watch(self, name: str, owner: Any, attribute: str, wanted: Callable[..., bool] = lambda *_: True) -> None:
        function = getattr(owner, attribute)

        def call(*arguments: Any, **options: Any) -> Any:
            if wanted(*arguments):
                with self._lock:
                    self.calls[name] += 1
            return function(*arguments, **options)

        self._patch.setattr(owner, attribute, call)


def is_scan(path: object, *_: object) -> bool:
    return str(path).endswith(".png")


def is_record(_: int, data: Any) -> bool:
    return bytes(data[:10]) == b'{"schema":' or bytes(data[:10]) == b'{"schema" '


def classify(classifier: Classifier, files: list[str], output: Path) -> None:
    with open_writer("jsonl", output) as writer:
        for prediction in run_pipeline(classifier, files, batch_size=BATCH, readers=2):
            assert prediction.error is None
            writer.write(prediction)


def test_every_scan_takes_the_calls_that_are_written_down(
    make_classifier: MakeClassifier, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = make_classifier()
    classify(classifier, files[:1], tmp_path / "warm.jsonl")
    counted = Counted(monkeypatch)
    counted.watch("files opened", os, "open", is_scan)
    counted.watch("reads", os, "read")
    counted.watch("hashes", hashlib, "sha256")
    counted.watch("decodes", cv2, "imdecode")
    counted.watch("preprocessings", preprocessing, "prepare")
    counted.watch("means of four columns", resizing, "_means_of_four_columns")
    counted.watch("resizes", cv2, "resize")
    counted.watch("records written", os, "write", is_record)
    counted.watch("engine runs", classifier.engine, "run")
    classify(classifier, files, tmp_path / "rows.jsonl")
    runs = counted.calls.pop("engine runs")
    assert {name: count / SCANS for name, count in counted.calls.items()} == A_SCAN
    assert runs == SCANS // BATCH


@pytest.mark.parametrize("kind", list(IMAGES_ALIVE))
def test_no_more_copies_of_an_image_are_alive_than_are_written_down(
    kind: str, make_classifier: MakeClassifier, tmp_path: Path
) -> None:
    # NumPy tells tracemalloc of the memory of its arrays, and OpenCV decodes into arrays of NumPy.
    classifier = make_classifier()
    path = tmp_path / "scan"
    path.write_bytes(cv2.imencode(".jpg" if "JPEG" in kind else ".png", scan_of(kind))[1].tobytes())
    for ready in classifier.read(str(path)):
        assert ready.error is None
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for ready in classifier.read(str(path)):
            assert ready.error is None
        most = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    alive = (most - path.stat().st_size) / SIDE**2
    assert IMAGES_ALIVE[kind] <= alive <= IMAGES_ALIVE[kind] + SMALL


@pytest.fixture
def entered() -> Iterator[Counter[str]]:
    """Counts functions of ours that this thread enters, by name."""
    folder = str(Path(edgebrain.__file__).parent)
    found: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(folder):
            found[f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}"] += 1

    sys.setprofile(profile)
    yield found
    sys.setprofile(None)


def test_no_more_functions_are_entered_than_are_written_down(
    make_classifier: MakeClassifier, files: list[str], tmp_path: Path, entered: Counter[str]
) -> None:
    classifier = make_classifier()
    with open_writer("jsonl", tmp_path / "rows.jsonl") as writer:
        for scans in (files[:BATCH], files[:BATCH]):  # the first time imports what is needed
            entered.clear()
            for prediction in classifier.predict([next(classifier.read(file)) for file in scans]):
                writer.write(prediction)
    sys.setprofile(None)
    assert 0 < entered.total() / BATCH <= PYTHON_CALLS, entered.most_common(20)
