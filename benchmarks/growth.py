"""How time and memory grow: with the number of scans, the size and format of images, threads and batches."""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from memory import peak_resident
from outcome import Curve, Findings, Outcome, Series
from plan import Plan
from served import Served

from edgebrain.classifier import Classifier
from edgebrain.imaging import cv2
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.types import Prediction

TARGET = 1.05
"""Time per scan late in a long run over that early in it."""
SIDES = (128, 256, 512, 1024, 2048, 4096)
FORMATS = (".png", ".jpg", ".tif")
BATCHES = (1, 2, 4, 8, 16, 32, 64)
PASSES = 10
"""Over all files, on each side, to tell late from early."""
LONG_RUN = Path(__file__).parent / "long_run.py"
FORMAT_SIDE = 512


def measure(plan: Plan) -> Findings:
    """Measure every kind of growth; images come first and grow, so that memory tells of the largest so far."""
    early, late, before = _early_and_late(plan)
    classifier = Classifier.load(plan.model, threads=plan.threads, throughput=True)
    scans = plan.rival_scans * 4
    with tempfile.TemporaryDirectory() as folder:
        series = [
            _sides(classifier, Path(folder), scans),
            _threads(plan, scans),
            _batches(classifier, plan, scans),
            _formats(classifier, Path(folder), scans),
        ]
    first, done = plan.checkpoints[0], PASSES * len(plan.files)
    return Findings(
        title="Growth",
        how=f"{plan.threads} threads unless said otherwise; files over and over, as steady runs. Late and early scans "
        "are those of two processes that run in turn, one of which has a long run behind it: the speed of a machine "
        "that others share may change more in the minute between the ends of one run.",
        outcomes=[
            Outcome(
                "time per scan in a long run",
                f"scans {before:,} to {before + done:,} of a process",
                f"scans {first:,} to {first + done:,} of another",
                "ms",
                late,
                early,
                target=TARGET,
            )
        ],
        series=series,
    )


def _early_and_late(plan: Plan) -> tuple[list[float], list[float], int]:
    """Milliseconds per scan of PASSES passes early and after a long run, and the scans of that run."""
    first, before = plan.checkpoints[0], plan.checkpoints[-1]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        job = Path(folder) / "job.json"
        job.write_text(
            json.dumps({"files": plan.files, "model": plan.model, "threads": plan.threads}), encoding="utf-8"
        )
        runs = [
            running.enter_context(closing(Served([sys.executable, str(LONG_RUN), str(job), str(count)])))
            for count in (first, before)
        ]
        times: list[list[float]] = [[], []]
        for turn in range(PASSES):
            for side in (0, 1) if turn % 2 else (1, 0):
                times[side].append(runs[side].seconds() / len(plan.files) * 1e3)
    return times[0], times[1], before


def _drain(found: Iterator[Prediction], count: int) -> float:
    """Take records; a failed scan would mean nothing."""
    began = time.perf_counter()
    for prediction in itertools.islice(found, count):
        if prediction.error is not None:
            raise SystemExit(prediction.error.message)
    return time.perf_counter() - began


def _rate(classifier: Classifier, files: Sequence[str], scans: int, batch: int = 8) -> float:
    """Scans per second of a run over files, the median of three; a short one before warms up."""
    rates = []
    for count in (min(scans, 2 * batch), scans, scans, scans):
        items = list(itertools.islice(itertools.cycle(files), count))
        rates.append(count / _drain(classifier.classify_many(items, batch_size=batch), count))
    return statistics.median(rates[1:])


def _threads(plan: Plan, scans: int) -> Series:
    def row(threads: int) -> list[str]:
        classifier = Classifier.load(plan.model, threads=threads, throughput=True)
        return [str(threads), f"{_rate(classifier, plan.files, scans):.0f}"]

    return Series("Threads", ["threads", "scans/s"], [row(count) for count in range(1, plan.threads + 1)])


def _batches(classifier: Classifier, plan: Plan, scans: int) -> Series:
    found = [(size, _rate(classifier, plan.files, max(scans, 4 * size), size)) for size in BATCHES]
    rows = [[str(size), f"{rate:.0f}"] for size, rate in found]
    return Series("Batch sizes", ["batch", "scans/s"], rows, Curve("Batch size", "Scans per second", [*found]))


def _formats(classifier: Classifier, folder: Path, scans: int) -> Series:
    rows = []
    for suffix in FORMATS:
        files = _draw(folder, FORMAT_SIDE, suffix)
        size = statistics.mean(Path(file).stat().st_size for file in files) / 1e3
        rows.append([suffix[1:].upper(), f"{size:.0f} kB", f"{_rate(classifier, files, scans):.0f}"])
    return Series(f"Formats, {FORMAT_SIDE} pixels a side", ["format", "file", "scans/s"], rows)


def _sides(classifier: Classifier, folder: Path, scans: int) -> Series:
    rows, points = [], []
    for side in SIDES:
        count = max(8, scans * 256**2 // side**2) if side > SIDES[1] else scans
        rate = _rate(classifier, _draw(folder, side, ".png"), count)
        rows.append([str(side), f"{1e3 / rate:.2f} ms", f"{peak_resident():.0f} MB"])
        points.append((float(side), 1e3 / rate))
    columns = ["pixels a side", "time per scan", "peak memory so far"]
    return Series("Image sizes, PNG", columns, rows, Curve("Pixels a side", "Milliseconds per scan", points))


def _draw(folder: Path, side: int, suffix: str) -> list[str]:
    paths = [folder / f"{side}-{seed}{suffix}" for seed in range(2)]
    for seed, path in enumerate(paths):
        path.write_bytes(cv2.imencode(suffix, draw_phantom(PhantomSpec(seed=seed, side=side)))[1].tobytes())
    return [str(path) for path in paths]
