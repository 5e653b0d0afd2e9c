"""The least that a process can do which classifies files: numpy, cv2, onnxruntime, nothing else.

No check of any kind, no crop, no calibration, no record: what is left of a start, or of a long run, when everything of
ours is gone. A second reader's graph runs, too, where edgebrain asks it about the file.
Usage: bare.py GRAPH FILE THREADS [SECOND WEIGHT]
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
import onnxruntime

LABELS = ("glioma", "meningioma", "no_tumor", "pituitary")


class Bare:
    """The script's sessions.

    Args:
        threads: Of an inference.
        graph: File of the first network.
        second: File of the second reader; empty if there is none.
        weight: Of the second reader's logits.
    """

    def __init__(self, threads: int, graph: str, second: str = "", weight: float = 0.0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._sessions = [
            onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
            for file in (graph, second)
            if file
        ]
        self._size = self._sessions[0].get_inputs()[0].shape[:1:-1]
        self._weight = weight

    def label(self, file: str, *, twice: bool) -> str:
        """Classify a file, with both graphs if it is to be read twice: their mean, whatever a bundle makes of both."""
        image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        small = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)[np.newaxis, np.newaxis]
        logits = self._sessions[0].run(["logits"], {"image": small})[0]
        if twice:
            read = self._sessions[1].run(["logits"], {"image": small})[0]
            logits = (1 - self._weight) * logits + self._weight * read
        return LABELS[int(logits.argmax())]


def main() -> None:
    """Print the label of one file."""
    graph, file, threads, *more = sys.argv[1:]
    second, weight = more or ("", "0")
    print(Bare(int(threads), graph, second, float(weight)).label(file, twice=bool(second)))


if __name__ == "__main__":
    main()
