"""The least that a process can do which classifies one file: numpy, cv2, onnxruntime, nothing else.

No check of any kind, no crop, no calibration, no record: what is left of a start when everything of ours is gone. A
second reader's graph runs, too, where edgebrain asks it about the file.
Usage: bare.py GRAPH FILE THREADS [SECOND WEIGHT]
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
import onnxruntime

LABELS = ("glioma", "meningioma", "no_tumor", "pituitary")


def main() -> None:
    """Print the label of one file."""
    graph, file, threads, *second = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_GRAYSCALE)
    height, width = session.get_inputs()[0].shape[2:]
    assert image is not None
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    logits = session.run(["logits"], {"image": small[np.newaxis, np.newaxis]})[0]
    if second:
        other, weight = second[0], float(second[1])
        session = onnxruntime.InferenceSession(other, options, providers=["CPUExecutionProvider"])
        read = session.run(["logits"], {"image": small[np.newaxis, np.newaxis]})[0]
        logits = (1 - weight) * logits + weight * read
    print(LABELS[int(logits.argmax())])


if __name__ == "__main__":
    main()
