"""The steady state of one case, measured in this process: one scan at a time per stage, then a run as in use."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Protocol

from edgebrain.benchmark import memory, throttling
from edgebrain.benchmark.energy import Meter, Sensor, energy_of, find_sensor, idle_watts
from edgebrain.benchmark.record import STAGES, Accuracy, Energy, Memory, Setup, Throughput
from edgebrain.benchmark.requests import CaseReply, CaseRequest, Config, Effort
from edgebrain.classifier import READ_TWICE, Classifier
from edgebrain.errors import EdgebrainError, UsageError, printable
from edgebrain.pipeline import run_pipeline
from edgebrain.results.records import to_json
from edgebrain.results.writers import Writer, open_writer
from edgebrain.types import Prediction

WARM_UP_CHUNKS = 1
SMALLEST_CHUNK = 32
"""Scans; shorter ones would measure how records come in batches."""


class Load(Protocol):
    """Opens a classifier for a config."""

    def __call__(self, config: Config, *, throughput: bool) -> Classifier:
        """Open it; ``throughput`` as in :meth:`edgebrain.Classifier.load`."""
        ...


def load(config: Config, *, throughput: bool) -> Classifier:
    """Open a classifier for a config.

    Raises:
        EdgebrainError: What :meth:`edgebrain.Classifier.load` raises.
    """
    return Classifier.load(
        config.model,
        engine=config.engine,
        precision=config.precision,
        threads=config.threads,
        device=config.device,
        throughput=throughput,
    )


def measure_case(request: CaseRequest, *, opened: Load = load, root: Path = throttling.SYS) -> CaseReply:
    """Measure a case; see the module's text.

    Args:
        request: What to measure.
        opened: Opens classifiers; tests give their own.
        root: Where the kernel shows devices.

    Raises:
        UsageError: None of the files can be used.
        EdgebrainError: The model cannot be loaded, or the engine breaks.
    """
    config = request.config
    with closing(opened(config, throughput=False)) as classifier:
        files, failed, twice = _usable(classifier, request.files)
        latency = one_by_one(classifier, files, request.effort) if request.latency else {}
        setup = _setup(classifier, config)
    with closing(opened(config, throughput=True)) as classifier:
        accuracy = _accuracy(classifier, request)
        loaded = memory.resident()
        run = steady(classifier, files, request.effort, config.batch_size, root)
    used = (loaded, run.begin, run.end, memory.peak())
    return CaseReply(
        setup=setup,
        throughput=run.throughput,
        latency_ms=latency,
        memory=None if None in used else Memory(*(value for value in used if value is not None)),
        energy=run.energy,
        accuracy=accuracy,
        notes=(*_read_twice(twice), *run.notes),
        failed=failed,
        usable=files[0],
    )


def _setup(classifier: Classifier, config: Config) -> Setup:
    model, info = classifier.model, classifier.engine.info
    return Setup(
        model=model.id,
        version=model.version,
        sha256=model.sha256,
        precision=info.precision,
        engine=info.name,
        provider=info.provider,
        engine_version=info.version,
        device=config.device,
        threads=info.threads,
        batch_size=config.batch_size,
    )


def _read_twice(share: float) -> tuple[str, ...]:
    """What a reader of the figures must know where a second reader took part."""
    if not share:
        return ()
    return (f"{share:.0%} of these scans were read by two networks; other scans may be more or fewer",)


def _usable(classifier: Classifier, files: Sequence[str]) -> tuple[list[str], tuple[str, ...], float]:
    """Classify every file once, which also warms everything up; files that fail are left out and told.

    Returns:
        The files that can be used, why others cannot, and the share of scans that a second reader read, too.
    """
    good, failed, readers = [], [], []
    for file in files:
        answers = classifier.predict(list(classifier.read(file)))
        errors = [answer.error.message for answer in answers if answer.error is not None]
        good += [] if errors else [file]
        readers += [READ_TWICE in answer.reasons for answer in answers if answer.error is None]
        failed += [_named_only(error, file) for error in errors]
    if not good:
        raise UsageError(f"None of the {len(files)} files can be used: {failed[0]}")
    return good, tuple(failed), sum(readers) / len(readers)


def _named_only(message: str, file: str) -> str:
    """The message without the folders of the file: records are passed on."""
    folder = printable(os.path.split(file)[0] + os.sep)
    return message.replace(folder, "", 1) if message.startswith(folder) else message


class _Until:
    """Says when enough was measured: both minima reached."""

    def __init__(self, effort: Effort) -> None:
        self._effort = effort
        self._began = time.perf_counter()

    def reached(self, scans: int) -> bool:
        return scans >= self._effort.iterations and time.perf_counter() - self._began >= self._effort.seconds


def one_by_one(classifier: Classifier, files: Sequence[str], effort: Effort) -> dict[str, tuple[float, ...]]:
    """Time scans one at a time, from file to record.

    Args:
        classifier: Loaded for one scan at a time.
        files: Files that can be used, over and over.
        effort: How much.

    Returns:
        Milliseconds of every scan by stage. ``decide`` is what reading, preprocessing and inference leave of the total:
        calibration, decision, and the record as JSON.
    """
    samples: dict[str, list[float]] = {stage: [] for stage in STAGES}
    until = _Until(effort)
    for file in itertools.cycle(files):
        frames = classifier.read(file)
        while True:
            began = time.perf_counter()
            ready = next(frames, None)
            if ready is None:
                break
            prediction = classifier.predict([ready])[0]
            to_json(prediction).encode("ascii")
            total = (time.perf_counter() - began) * 1e3
            parts = (ready.read_ms, ready.preprocess_ms, prediction.timing_ms.infer)
            for stage, took in zip(STAGES, (*parts, max(0.0, total - sum(parts)), total), strict=True):
                samples[stage].append(took)
        if until.reached(len(samples["total"])):
            break
    return {stage: tuple(round(took, 4) for took in taken) for stage, taken in samples.items()}


class SteadyRun:
    """What a steady run gave.

    Attributes:
        throughput: Its chunks.
        begin: Resident memory in MB after the warm-up, where the kernel says it.
        end: The same after the last chunk.
        energy: Where there is a sensor.
        notes: Throttling, and why there is no energy.
    """

    def __init__(self, chunk: int) -> None:
        self.throughput = Throughput(chunk, ())
        self.begin: float | None = None
        self.end: float | None = None
        self.energy: Energy | None = None
        self.notes: tuple[str, ...] = ()


def steady(
    classifier: Classifier, files: Sequence[str], effort: Effort, batch_size: int, root: Path = throttling.SYS
) -> SteadyRun:
    """Classify files over and over as ``edgebrain classify --format jsonl`` does, and time it chunk by chunk.

    Args:
        classifier: Loaded for throughput.
        files: Files that can be used.
        effort: How much.
        batch_size: Scans that the engine gets at a time.
        root: Where the kernel shows devices.
    """
    run = SteadyRun(max(SMALLEST_CHUNK, 4 * batch_size * classifier.workers))
    sensor, missing = find_sensor(root)
    idle = 0.0 if sensor is None else idle_watts(sensor, min(2.0, effort.seconds))
    before = throttling.look(root)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_writer("jsonl", Path(folder) / "records.jsonl") as writer,
        closing(run_pipeline(classifier, itertools.cycle(files), batch_size=batch_size)) as predictions,  # type: ignore[type-var] # a generator, told as an iterator
    ):
        for _ in range(WARM_UP_CHUNKS):
            _take(predictions, run.throughput.chunk, writer)
        run.begin = memory.resident()
        with _metered(sensor) as meter:
            seconds = _chunks(predictions, run.throughput.chunk, writer, effort)
        run.end = memory.resident()
        run.notes = throttling.notes(before, throttling.look(root))
    run.throughput = Throughput(run.throughput.chunk, tuple(seconds))
    if meter is None:
        run.notes += (missing,)
    else:
        run.energy = energy_of(meter, len(seconds) * run.throughput.chunk, idle)
    return run


def _metered(sensor: Sensor | None) -> Meter | nullcontext[None]:
    return nullcontext(None) if sensor is None else Meter(sensor)


def _chunks(predictions: Iterator[Prediction], chunk: int, writer: Writer, effort: Effort) -> list[float]:
    seconds: list[float] = []
    until = _Until(effort)
    while not until.reached(len(seconds) * chunk):
        began = time.perf_counter()
        _take(predictions, chunk, writer)
        seconds.append(time.perf_counter() - began)
    return seconds


def _take(predictions: Iterator[Prediction], count: int, writer: Writer) -> None:
    for prediction in itertools.islice(predictions, count):
        if prediction.error is not None:
            raise EdgebrainError(
                f"A scan failed that could be used before: {prediction.error.message}", remedy="Run it again."
            )
        writer.write(prediction)


def _accuracy(classifier: Classifier, request: CaseRequest) -> Accuracy | None:
    if request.data is None:
        return None
    from edgebrain.evaluation.run import evaluate_samples
    from edgebrain.labelled import read_labelled

    samples = read_labelled(request.data, split=request.split, labels=classifier.bundle.manifest.labels)
    figures = evaluate_samples(classifier, samples, batch_size=request.config.batch_size)
    return Accuracy(
        data=Path(request.data).absolute().name,
        mode=figures.mode,
        n=figures.n,
        n_failed=figures.n_failed,
        accuracy=figures.accuracy,
        sensitivity=None if figures.tumor is None else figures.tumor.sensitivity,
        coverage=figures.coverage,
    )
