"""A process that has classified some scans, and classifies more when asked to. Usage: long_run.py JOB.json BEFORE.

See served.py for how it is asked; it answers with the seconds of one pass over the job's files.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from pathlib import Path

from floors import seconds
from steady import classify_all

from edgebrain.classifier import Classifier


def main() -> None:
    """Classify so many scans, then serve until standard input ends."""
    source, before = sys.argv[1:]
    job = json.loads(Path(source).read_text(encoding="utf-8"))
    files = tuple(job["files"])
    classifier = Classifier.load(job["model"], threads=job["threads"], throughput=True)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "records.jsonl"
        classify_all(classifier, tuple(itertools.islice(itertools.cycle(files), int(before))), output)
        print("{}", flush=True)
        for _ in sys.stdin:
            print(json.dumps({"seconds": seconds(lambda: classify_all(classifier, files, output))}), flush=True)


if __name__ == "__main__":
    main()
