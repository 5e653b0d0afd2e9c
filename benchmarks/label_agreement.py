"""How often the shipped model disagrees with the labels of slices that it never saw, by source and label.

A class whose labels are often wrong in one source would show here: many slices that the model is sure are something
else. What it cannot show is an error that training has seen as often, in the same kind of slice.

python benchmarks/label_agreement.py splits.csv
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

from edgebrain import Classifier, Prediction
from edgebrain.errors import EdgebrainError
from edgebrain.labelled import read_labelled

SURE = 0.9
UNSEEN = ("val", "test")


def main() -> int:
    """Print slices, agreement and sure contradictions of each source and label."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("splits", type=Path, help="as edgebrain audit writes them")
    parser.add_argument("--model", default="edge", metavar="NAME|DIR", help="built-in model, or a bundle's folder")
    options = parser.parse_args()
    try:
        samples = [s for s in read_labelled(options.splits) if s.split in UNSEEN and not s.copy_of]
        classifier = Classifier.load(options.model)
    except EdgebrainError as error:
        raise SystemExit(str(error)) from error
    if not samples:
        raise SystemExit(f"{options.splits} has no scans in a split {' or '.join(UNSEEN)}.")
    answers: dict[str, list[Prediction]] = defaultdict(list)
    for answer in classifier.classify_many([s.path for s in samples]):
        answers[answer.path].append(answer)
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    unread = 0
    for sample in samples:
        found = answers[sample.path][0]
        if found.label is None or len(answers[sample.path]) > 1:
            unread += 1
        elif sample.label in found.probabilities:
            count = counts[sample.source, sample.label]
            count[0] += 1
            count[1] += found.label == sample.label
            count[2] += found.label != sample.label and found.probabilities[found.label] > SURE
    print("source           label        slices  agrees  sure of another")
    for (source, label), (slices, agrees, sure) in sorted(counts.items()):
        print(f"{source:16} {label:12} {slices:6}  {agrees / slices:6.1%}  {sure}")
    if unread:
        print(f"{unread} files could not be read, or have several frames.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
