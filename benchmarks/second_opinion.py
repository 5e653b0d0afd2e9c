"""The headline figures another way: OpenCV's grey decoding and the bare graph, without readers, classifier or metrics.

python benchmarks/second_opinion.py runs/edge/splits.csv edgebrain/bundles/edge/model.int8.onnx

With ``--preprocessing N`` the scans are prepared by another version, and the time that it takes is of that one.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from edgebrain.errors import ScanError
from edgebrain.preprocessing import prepare
from edgebrain.types import PREPROCESSING_VERSION, PREPROCESSING_VERSIONS, InputSpec, Scan

LABELS = ("glioma", "meningioma", "no_tumor", "pituitary")
NOT_TRAINED_ON = frozenset({"val", "test", "external"})


def main() -> int:
    """Print how many scans of each split and label are right; of ``tumor``, how many are called any tumour."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, help="splits, as edgebrain audit writes them")
    parser.add_argument("graph", type=Path, help="ONNX file of a bundle")
    parser.add_argument("--preprocessing", type=int, choices=PREPROCESSING_VERSIONS, default=PREPROCESSING_VERSION)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    spec, took = InputSpec(preprocessing=options.preprocessing), 0.0
    manifest: Path = options.manifest
    session = onnxruntime.InferenceSession(str(options.graph), providers=["CPUExecutionProvider"])
    right: Counter[tuple[str, str]] = Counter()
    seen: Counter[tuple[str, str]] = Counter()
    with manifest.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] in NOT_TRAINED_ON and not row["copy_of"]]
    for row in rows:
        pixels = cv2.imread(str(manifest.parent / row["path"]), cv2.IMREAD_GRAYSCALE)
        if pixels is None or row["label"] == "not_brain_mri":
            continue
        began = time.thread_time()
        try:
            image = prepare(Scan(np.asarray(pixels, np.uint8), row["path"]), spec).image
        except ScanError:
            continue
        took += time.thread_time() - began
        best = LABELS[int(session.run(["logits"], {"image": image[np.newaxis]})[0][0].argmax())]
        place = (row["split"], row["label"])
        seen[place] += 1
        right[place] += best != "no_tumor" if row["label"] == "tumor" else best == row["label"]
    for place, count in sorted(seen.items()):
        print(f"{place[0]:9} {place[1]:11} {right[place]:4} of {count}")
    for split in ("val", "test"):
        judged = [place for place in seen if place[0] == split]
        print(f"{split}: {sum(right[p] for p in judged)} of {sum(seen[p] for p in judged)}")
    print(f"preprocessing {spec.preprocessing}: {took / sum(seen.values()) * 1e3:.2f} ms of CPU time a scan")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
