"""Whether memory stays flat: one process, the same files over and over."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from cold_start import bare_script, launch
from outcome import Curve, Findings, Outcome, Series
from plan import Plan

from edgebrain.classifier import Classifier
from edgebrain.results.writers import open_writer

TARGET_GROWTH = 3.0
"""MB."""
TARGET_PEAK = 1.3


def resident() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_resident() -> float:
    """Largest resident memory of this process so far, in MB; getrusage would count its parent in."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kib = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
    return int(kib) * 1024 / 1e6


class LongRun(NamedTuple):
    """What one process used on its way.

    Attributes:
        used: Resident MB after so many scans.
        rates: Scans per second up to each checkpoint, from the one before.
        peak: Most resident MB at any time.
    """

    used: dict[int, float]
    rates: list[float]
    peak: float


def long_run(plan: Plan, classifier: Classifier) -> LongRun:
    """Classify up to the last checkpoint, write the records, and look at memory at each checkpoint."""
    used: dict[int, float] = {}
    rates: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        open_writer("jsonl", Path(folder) / "records.jsonl") as writer,
    ):
        began, since = time.perf_counter(), 0
        found = classifier.classify_many(itertools.islice(itertools.cycle(plan.files), plan.checkpoints[-1]))
        for count, prediction in enumerate(found, 1):
            writer.write(prediction)
            if count in plan.checkpoints:
                now = time.perf_counter()
                rates.append((count - since) / (now - began))
                used[count] = resident()
                began, since = time.perf_counter(), count
    return LongRun(used, rates, peak_resident())


def measure(plan: Plan) -> Findings:
    """A long run of edgebrain, then the bare script with one scan, with every graph of the model and with the first."""
    classifier = Classifier.load(plan.model, threads=plan.threads, throughput=True)
    run = long_run(plan, classifier)
    bare = {name: bare_script(plan, classifier, second_reader=name == "both") for name in ("both", "first")}
    samples = launch(bare, 1)
    first, last = plan.checkpoints[0], plan.checkpoints[-1]
    growth = Outcome(
        "growth of resident memory",
        f"after {last:,} scans",
        f"after {first:,} scans",
        "MB",
        [run.used[last]],
        [run.used[first]],
        target=TARGET_GROWTH,
        kind="difference",
    )
    peaks = [
        Outcome(
            title,
            f"edgebrain, {last:,} scans",
            f"bare script, one scan, {graphs}",
            "MB",
            [run.peak],
            [samples[name][0]["memory"]],
            target=TARGET_PEAK,
        )
        for title, graphs, name in (
            ("peak memory", "every graph of the model", "both"),
            ("the same, against one graph", "the first network alone", "first"),
        )
    ]
    return Findings(
        title="Memory of a long run",
        how=f"One process; {len(plan.files)} files over and over, records written to a JSONL file.",
        outcomes=[growth, *peaks],
        series=[along_the_way(run)],
    )


def along_the_way(run: LongRun) -> Series:
    """Memory and speed at every checkpoint, as a table and a curve."""
    rows = [
        [f"{count:,}", f"{used:.1f} MB", f"{rate:.0f}"]
        for (count, used), rate in zip(run.used.items(), run.rates, strict=True)
    ]
    points = [(float(count), used) for count, used in run.used.items()]
    return Series(
        "Memory along the way",
        ["scans", "resident memory", "scans/s since the row above"],
        rows,
        Curve("Scans of one process", "Resident memory, MB", points),
    )
