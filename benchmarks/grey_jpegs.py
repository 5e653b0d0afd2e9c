"""How many JPEG files say by their tables that they hold no colour, and what that saves (docs/decisions/0026).

python benchmarks/grey_jpegs.py splits.csv
"""

from __future__ import annotations

import argparse
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from floors import seconds

from edgebrain.errors import EdgebrainError
from edgebrain.labelled import read_labelled
from edgebrain.readers import sniff
from edgebrain.readers.headers import parse
from edgebrain.readers.jpeg_tables import colors_cannot_occur
from edgebrain.readers.raster import COLOR_CHANNELS

ROUNDS = 5
LUMA = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
EIGHTH = cv2.IMREAD_REDUCED_COLOR_8 | cv2.IMREAD_IGNORE_ORIENTATION


def main() -> int:
    """Print counts, and microseconds a file of each way to decode the files that say so, on one thread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("splits", type=Path, help="scans, as edgebrain audit lists them; copies are left out")
    parser.add_argument("--split", help="only this one")
    options = parser.parse_args()
    try:
        samples = [s for s in read_labelled(options.splits, split=options.split) if not s.copy_of]
    except EdgebrainError as error:
        raise SystemExit(str(error)) from error
    files = [data for data in (Path(s.path).read_bytes() for s in samples) if sniff(data) == "jpeg"]
    colours = [data for data in files if parse(data, "jpeg", "").channels == COLOR_CHANNELS]
    known = [data for data in colours if colors_cannot_occur(data)]
    print(f"{len(samples)} scans, {len(files)} JPEG, {len(colours)} of three components, {len(known)} known to be grey")
    if known:
        for name, work in ways_to_decode(known).items():
            print(f"{name:26} {microseconds(work, len(known)):4.0f}")
    return 0


def ways_to_decode(files: Sequence[bytes]) -> dict[str, Callable[[], object]]:
    """What can be done to all files, by name."""
    cv2.setNumThreads(1)
    encoded = [np.frombuffer(data, np.uint8) for data in files]
    return {
        "in colour": lambda: drop(cv2.imdecode(one, cv2.IMREAD_UNCHANGED) for one in encoded),
        "an eighth, then the luma": lambda: drop(
            (cv2.imdecode(one, EIGHTH), cv2.imdecode(one, LUMA)) for one in encoded
        ),
        "the luma": lambda: drop(cv2.imdecode(one, LUMA) for one in encoded),
        "to look at the tables": lambda: drop(colors_cannot_occur(data) for data in files),
    }


def drop(results: Iterable[object]) -> None:
    """Make results and keep none: new memory for each would cost more than decoding."""
    deque(results, maxlen=0)


def microseconds(work: Callable[[], object], count: int) -> float:
    """Median of some rounds, a file."""
    return statistics.median(seconds(work) for _ in range(ROUNDS)) / count * 1e6


if __name__ == "__main__":
    raise SystemExit(main())
