"""A whole benchmark: files, cases, one process a measurement, one record."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgebrain import __version__
from edgebrain import device as machine
from edgebrain.benchmark import launching
from edgebrain.benchmark.cases import Planned, Wanted, plan
from edgebrain.benchmark.figures import summarise
from edgebrain.benchmark.human import SLICES_PER_EXAM
from edgebrain.benchmark.record import Benchmark, Case, Cold, Skipped
from edgebrain.benchmark.requests import CaseReply, CaseRequest, Config, Effort
from edgebrain.bundle import open_bundle
from edgebrain.doctor import library_versions
from edgebrain.errors import EdgebrainError, UsageError
from edgebrain.inputs import Refused, expand
from edgebrain.labelled import read_labelled

MOST_FILES = 256
"""Files that are timed, over and over; of more, some are taken, evenly spread."""
DRAWN = 24
SIDES = (224, 512)
"""Pixels a side of drawn scans; what published sets have most."""


@dataclass(frozen=True)
class Task:
    """What to measure, and on what.

    Attributes:
        wanted: Which cases.
        effort: How much.
        paths: Files and folders; drawn phantoms where there are none.
        data: Labelled scans for accuracy; they are timed, too, unless paths are given.
        split: Only this split of them.
        slices_per_exam: Slices that one examination is taken to have.
    """

    wanted: Wanted
    effort: Effort
    paths: tuple[str, ...] = ()
    data: Path | None = None
    split: str | None = None
    slices_per_exam: int = SLICES_PER_EXAM


@dataclass(frozen=True)
class Runner:
    """How the parts are measured: each in a process of its own. Tests give their own."""

    case: Callable[[CaseRequest], CaseReply] = launching.run_case
    cold: Callable[[Config, str, int], Cold] = launching.start_cold


Follow = Callable[[Sequence[Config]], Iterable[Config]]


def run_benchmark(task: Task, *, follow: Follow = iter, runner: Runner | None = None) -> Benchmark:
    """Measure, and put all of it into one record.

    Args:
        task: What to measure.
        follow: Watches the cases go by, for a progress bar.
        runner: How the parts are measured.

    Raises:
        EdgebrainError: The request makes no sense, the model cannot be run, or no file can be used.
    """
    runner = runner or Runner()
    manifest = open_bundle(task.wanted.model).manifest
    facts = machine.probe()
    planned = plan(task.wanted, facts, manifest)
    with _files(task, manifest.labels) as (files, words):
        cases, failed, broken = _measured(task, planned, files, follow, runner)
    return Benchmark(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgebrain=__version__,
        machine=_machine(facts),
        libraries=library_versions(),
        scans=words,
        n_files=len(files),
        slices_per_exam=task.slices_per_exam,
        cases=tuple(cases),
        failed=tuple(failed),
        skipped=(*planned.skipped, *broken),
    )


def _measured(
    task: Task, planned: Planned, files: Sequence[str], follow: Follow, runner: Runner
) -> tuple[list[Case], list[str], list[Skipped]]:
    cases: list[Case] = []
    broken: list[Skipped] = []
    failed: dict[str, None] = {}
    for config in follow([*planned.cases, *planned.swept]):
        try:
            case, messages = _one(task, config, files, runner, whole=config in planned.cases)
        except EdgebrainError as error:
            if config == planned.cases[0]:
                raise  # what was asked for is measured or refused; of several, those that run are measured
            broken.append(Skipped(f"{config.engine} {config.precision}", error.message))
            continue
        failed.update(dict.fromkeys(messages))
        cases.append(case)
    return cases, list(failed), broken


def _one(
    task: Task, config: Config, files: Sequence[str], runner: Runner, *, whole: bool
) -> tuple[Case, tuple[str, ...]]:
    """Measure one case; ``whole`` with all there is to measure, else only its steady run."""
    request = CaseRequest(
        config,
        task.effort,
        tuple(files),
        latency=whole,
        data=str(task.data) if whole and task.data is not None else None,
        split=task.split,
    )
    reply = runner.case(request)
    cold = runner.cold(config, reply.usable, task.effort.starts) if whole and task.effort.starts else None
    case = Case(
        setup=reply.setup,
        throughput=reply.throughput,
        summary=summarise(reply.latency_ms, reply.throughput, reply.energy),
        cold=cold,
        latency_ms=reply.latency_ms,
        memory=reply.memory,
        energy=reply.energy,
        accuracy=reply.accuracy,
        notes=reply.notes,
    )
    return case, reply.failed


@contextmanager
def _files(task: Task, labels: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """The files to time, and what they are in words; drawn ones are there as long as the block."""
    if task.paths:
        yield _spread(_named(task.paths), "given files")
    elif task.data is not None:
        samples = read_labelled(task.data, split=task.split, labels=labels)
        yield _spread([sample.path for sample in samples], "files of the labelled set")
    else:
        with tempfile.TemporaryDirectory(prefix="edgebrain-benchmark-") as folder:
            sides = " and ".join(map(str, SIDES))
            yield draw_files(Path(folder), DRAWN), f"drawn phantoms, PNG, {sides} pixels a side"


def _named(paths: Sequence[str]) -> list[str]:
    found = []
    for item in expand(paths, recursive=True):
        if isinstance(item, Refused):
            raise UsageError(str(item.error))
        found.append(item if isinstance(item, str) else item.path)
    return found


def _spread(files: list[str], words: str) -> tuple[list[str], str]:
    if len(files) <= MOST_FILES:
        return files, words
    places = [index * len(files) // MOST_FILES for index in range(MOST_FILES)]
    return [files[place] for place in places], f"{words}, {MOST_FILES} of {len(files):,} evenly spread"


def draw_files(folder: Path, count: int) -> list[str]:
    """Draw phantoms as PNG files of both SIDES, in turn.

    Args:
        folder: Where to; it exists.
        count: How many.

    Returns:
        Their paths.
    """
    from edgebrain.imaging import cv2
    from edgebrain.phantom import LESIONS, PhantomSpec, draw_phantom

    paths = []
    for index in range(count):
        side, seed = SIDES[index % len(SIDES)], index // len(SIDES)
        spec = PhantomSpec(seed=seed, lesion=LESIONS[seed % len(LESIONS)], side=side, t2_like=seed % 2 == 1)
        path = folder / f"{index:03d}-{side}.png"
        path.write_bytes(cv2.imencode(".png", draw_phantom(spec))[1].tobytes())
        paths.append(str(path))
    return paths


def _machine(facts: machine.Facts) -> dict[str, str | int | float]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return {
        "processor": facts.cpu or facts.machine,
        "architecture": facts.machine,
        "board": facts.board,
        "int8_instructions": ", ".join(sorted(facts.int8_flags)),
        "cpus": facts.cpus,
        "memory_gib": round(facts.memory_bytes / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        "load_average": round(load, 2),
    }
