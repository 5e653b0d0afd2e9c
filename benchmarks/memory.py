"""Whether memory stays flat: one process, the same files over and over."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from pathlib import Path

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


def measure(plan: Plan) -> Findings:
    """Classify up to the last checkpoint, and look at memory at each."""
    classifier = Classifier.load(plan.model, threads=plan.threads, throughput=True)
    last = plan.checkpoints[-1]
    used: dict[int, float] = {}
    rates: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        open_writer("jsonl", Path(folder) / "records.jsonl") as writer,
    ):
        began, since = time.perf_counter(), 0
        found = classifier.classify_many(itertools.islice(itertools.cycle(plan.files), last))
        for count, prediction in enumerate(found, 1):
            writer.write(prediction)
            if count in plan.checkpoints:
                now = time.perf_counter()
                rates.append((count - since) / (now - began))
                used[count] = resident()
                began, since = time.perf_counter(), count
    peak = peak_resident()
    bare = {name: bare_script(plan, classifier, second_reader=name == "both") for name in ("both", "first")}
    samples = launch(bare, 1)
    both_graphs, one_graph = (samples[name][0]["memory"] for name in ("both", "first"))
    first = plan.checkpoints[0]
    rows = [
        [f"{count:,}", f"{used[count]:.1f} MB", f"{rate:.0f}"]
        for count, rate in zip(plan.checkpoints, rates, strict=True)
    ]
    return Findings(
        title="Memory of a long run",
        how=f"One process; {len(plan.files)} files over and over, records written to a JSONL file.",
        outcomes=[
            Outcome(
                "growth of resident memory",
                f"after {last:,} scans",
                f"after {first:,} scans",
                "MB",
                [used[last]],
                [used[first]],
                target=TARGET_GROWTH,
                kind="difference",
            ),
            Outcome(
                "peak memory",
                f"edgebrain, {last:,} scans",
                "bare script, one scan, every graph of the model",
                "MB",
                [peak],
                [both_graphs],
                target=TARGET_PEAK,
            ),
            Outcome(
                "the same, against one graph",
                f"edgebrain, {last:,} scans",
                "bare script, one scan, the first network alone",
                "MB",
                [peak],
                [one_graph],
                target=TARGET_PEAK,
            ),
        ],
        series=[
            Series(
                "Memory along the way",
                ["scans", "resident memory", "scans/s since the row above"],
                rows,
                Curve("Scans of one process", "Resident memory, MB", [(float(n), used[n]) for n in plan.checkpoints]),
            )
        ],
    )
