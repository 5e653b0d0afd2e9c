"""The facade: a bundle, a reader, preprocessing, an engine and the decision, behind three calls.

clf = edgebrain.Classifier.load("edge")
clf.classify("scan.png").triage
for prediction in clf.classify_many(paths): ...
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgebrain import decision, preprocessing
from edgebrain import device as machine
from edgebrain import readers as reading
from edgebrain.bundle import Bundle, open_bundle
from edgebrain.engines import Engine, EngineOptions, open_engine
from edgebrain.errors import EngineFailed, ScanError, UsageError
from edgebrain.types import (
    AnyPixels,
    EngineRef,
    ErrorRef,
    Float32,
    Image8,
    InputRef,
    ModelRef,
    Precision,
    Prediction,
    Prepared,
    Scan,
    Timing,
)

if TYPE_CHECKING:
    from edgebrain.device import Choice

Source = str | os.PathLike[str] | bytes | AnyPixels
"""A path, the bytes of a file, or an array: [H, W] grey, [H, W, 3] RGB or [H, W, 4] RGBA."""


_CONCURRENT = frozenset({"onnxruntime"})
"""Engines that several threads may run at the same time."""


@dataclass(frozen=True)
class ReadyScan:
    """A scan on its way through: read and prepared, or failed with an error.

    Attributes:
        path: The record's path.
        frame: The record's frame.
        scan: What was read, without its pixels: they are not needed any more, and many scans may wait.
        width: Columns of the scan.
        height: Rows of the scan.
        prepared: The graph's input; None when there is an error.
        error: Why there is no input.
        read_ms: Time of reading and decoding.
        preprocess_ms: Time of preprocessing.
    """

    path: str
    frame: int
    scan: Scan | None
    width: int
    height: int
    prepared: Prepared | None
    error: ScanError | None
    read_ms: float
    preprocess_ms: float


def refused(path: str, error: ScanError) -> ReadyScan:
    """A source that gave no scan at all."""
    return ReadyScan(path, 0, None, 0, 0, None, error, 0.0, 0.0)


class Classifier:
    """Classifies scans with one file of one bundle. Use :meth:`load`.

    Args:
        bundle: The model.
        engine: Its opened engine.
        choice: Which file it is, and why.
        workers: Batches that :meth:`classify_many` may run at a time on this engine.
    """

    def __init__(self, bundle: Bundle, engine: Engine, choice: Choice, workers: int = 1) -> None:
        self.bundle = bundle
        self.engine = engine
        self.choice = choice
        self.workers = workers
        manifest = bundle.manifest
        artifact = choice.artifact
        self.model = ModelRef(manifest.id, manifest.version, artifact.precision.value, artifact.sha256)
        self.engine_ref = EngineRef(engine.info.name, engine.info.provider, engine.info.threads * workers)

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str] = "edge",
        *,
        engine: str | None = None,
        precision: str | Precision | None = None,
        threads: int | None = None,
        device: str | None = None,
        throughput: bool = False,
    ) -> Classifier:
        """Open a model.

        Args:
            model: Name of a built-in bundle, or a bundle's folder.
            engine: Engine by name; the best for this machine if None.
            precision: ``fp32`` or ``int8``; the best for this machine if None.
            threads: CPU threads; all this process may use if None.
            device: ``cpu`` ...
            throughput: Share the threads out to batches that run side by side, instead of splitting each batch: more
                scans per second in :meth:`classify_many`, a longer wait for a single one.

        Raises:
            UsageError: There is no such model, engine or precision.
            BundleError: The bundle is not what it says.
            EngineError: The engine cannot run here, or refuses the graph.
        """
        bundle = open_bundle(model)
        request = machine.Request(engine, _precision(precision), threads, device)
        facts = machine.probe()
        choice = machine.choose(facts, request, bundle.manifest)
        shared = throughput and choice.artifact.engine in _CONCURRENT and choice.threads <= facts.cpus
        workers = choice.threads if shared else 1
        options = EngineOptions(threads=choice.threads // workers, device=choice.device)
        return cls(bundle, open_engine(bundle, choice.artifact, options), choice, workers)

    def classify(self, source: Source) -> Prediction:
        """Classify one scan: a path or the bytes of a file of one frame, or an array.

        Raises:
            UsageError: The file has several frames; one answer would hide the others.
            ScanError: It cannot be classified.
        """
        ready = next(self.read(source))
        if ready.scan is not None and ready.scan.frames > 1:
            raise UsageError(
                f"{ready.path}: the file has {ready.scan.frames} frames, and classify gives one answer.",
                remedy="classify_many gives one for every frame of a file.",
            )
        if ready.error is not None:
            raise ready.error
        return self.predict([ready])[0]

    def classify_many(
        self, paths: Iterable[str | os.PathLike[str]], *, batch_size: int = 8, readers: int | None = None
    ) -> Iterator[Prediction]:
        """Classify many files; one record per frame, in the order given, with bounded memory.

        A scan that cannot be used gives a record with ``status`` ``error``; the rest goes on.

        Args:
            paths: Files.
            batch_size: Scans that the engine gets at a time.
            readers: Threads that read and prepare; the CPUs of this process if None.

        Raises:
            UsageError: What was given is no list of paths, or a number is below 1.
        """
        from edgebrain.pipeline import run_pipeline

        if isinstance(paths, str | bytes | os.PathLike):
            raise UsageError("classify_many() takes a list of paths.", remedy="Give one scan to classify().")
        return run_pipeline(self, map(_path, paths), batch_size=batch_size, readers=readers)

    def read(self, source: Source) -> Iterator[ReadyScan]:
        """Read and prepare every frame of a source; an error becomes a ready scan that says so, and ends the source."""
        path = _name_of(source)
        started = time.perf_counter()
        frame = 0
        try:
            for scan in _scans(source):
                read_ms = (time.perf_counter() - started) * 1e3
                yield self._prepare(scan, path, read_ms)
                frame = scan.frame + 1
                started = time.perf_counter()
        except ScanError as error:
            yield ReadyScan(path, frame, None, 0, 0, None, error, (time.perf_counter() - started) * 1e3, 0.0)

    def _prepare(self, scan: Scan, path: str, read_ms: float) -> ReadyScan:
        started = time.perf_counter()
        prepared, failure = None, None
        try:
            prepared = preprocessing.prepare(scan, self.bundle.manifest.input)
        except ScanError as error:
            failure = error
        elapsed = (time.perf_counter() - started) * 1e3
        height, width = scan.pixels.shape
        light = Scan(
            pixels=_NO_PIXELS,
            source=scan.source,
            frame=scan.frame,
            frames=scan.frames,
            format=scan.format,
            sha256=scan.sha256,
            color_fraction=scan.color_fraction,
            spacing=scan.spacing,
            warnings=scan.warnings,
        )
        return ReadyScan(path, scan.frame, light, width, height, prepared, failure, read_ms, elapsed)

    def predict(self, ready: list[ReadyScan]) -> list[Prediction]:
        """Run the engine on a batch and decide; failed scans pass through as error records, in their place.

        Raises:
            EngineFailed: The engine broke.
        """
        images = [r.prepared.image for r in ready if r.prepared is not None]
        started = time.perf_counter()
        logits = iter(self._logits(np.stack(images))) if images else iter(())
        infer_ms = (time.perf_counter() - started) * 1e3 / max(1, len(images))
        return [self._error(r) if r.prepared is None else self._answer(r, next(logits), infer_ms) for r in ready]

    def _logits(self, images: Image8) -> Float32:
        logits = self.engine.run(images)["logits"]
        expected = (len(images), len(self.bundle.manifest.labels))
        if logits.shape != expected:
            raise EngineFailed(f"{self.choice.artifact.file} gives logits {logits.shape} instead of {expected}.")
        if not np.isfinite(logits).all():
            # No answer may rest on such numbers, and whatever made them is broken for other scans, too.
            raise EngineFailed(
                f"{self.choice.artifact.file} gives logits that are not finite on {self.engine.info.provider}.",
                remedy="Try another precision (--precision fp32) and check the bundle.",
            )
        return logits

    def _answer(self, ready: ReadyScan, logits: Float32, infer_ms: float) -> Prediction:
        assert ready.scan is not None
        assert ready.prepared is not None
        manifest = self.bundle.manifest
        verdict = decision.decide(
            logits,
            manifest.labels,
            manifest.negative_label,
            manifest.decision,
            color_fraction=ready.scan.color_fraction,
        )
        return Prediction(
            path=ready.path,
            frame=ready.frame,
            status="ok",
            label=verdict.label,
            probabilities=verdict.probabilities,
            tumor_probability=verdict.tumor_probability,
            triage=verdict.triage,
            reasons=verdict.reasons,
            model=self.model,
            engine=self.engine_ref,
            input=self._input(ready, ready.scan, ready.prepared),
            timing_ms=_timing(ready, infer_ms),
            warnings=(*ready.scan.warnings, *ready.prepared.warnings),
        )

    def _error(self, ready: ReadyScan) -> Prediction:
        assert ready.error is not None
        return Prediction(
            path=ready.path,
            frame=ready.frame,
            status="error",
            model=self.model,
            engine=self.engine_ref,
            timing_ms=_timing(ready, 0.0),
            error=ErrorRef(ready.error.code, str(ready.error)),
        )

    @staticmethod
    def _input(ready: ReadyScan, scan: Scan, prepared: Prepared) -> InputRef:
        return InputRef(scan.sha256, scan.format, ready.width, ready.height, prepared.intensity)

    def close(self) -> None:
        """Give the engine's memory back."""
        self.engine.close()


_NO_PIXELS: AnyPixels = np.empty((0, 0), np.uint8)


def _precision(name: str | Precision | None) -> Precision | None:
    if name is None:
        return None
    try:
        return Precision(name)
    except ValueError as error:
        known = ", ".join(p.value for p in Precision)
        raise UsageError(f"There is no precision {name!r}.", remedy=f"Known: {known}.") from error


def _path(name: object) -> str:
    path = os.fspath(name) if isinstance(name, str | os.PathLike) else name
    if not isinstance(path, str):
        raise UsageError(
            f"classify_many() takes paths, not {type(path).__name__}.",
            remedy="Give the bytes of a file or an array to classify().",
        )
    return path


def _name_of(source: Source) -> str:
    if isinstance(source, bytes):
        return "<bytes>"
    return "<array>" if isinstance(source, np.ndarray) else os.fspath(source)


def _scans(source: Source) -> Iterator[Scan]:
    if isinstance(source, np.ndarray):
        return iter((reading.from_array(source),))
    if isinstance(source, bytes):
        return reading.read(source, "<bytes>")
    return reading.read_path(source)


def _timing(ready: ReadyScan, infer_ms: float) -> Timing:
    total = ready.read_ms + ready.preprocess_ms + infer_ms
    return Timing(*(round(v, 3) for v in (ready.read_ms, ready.preprocess_ms, infer_ms, total)))
