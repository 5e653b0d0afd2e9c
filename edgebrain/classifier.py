"""The facade: a bundle, a reader, preprocessing, an engine and the decision, behind three calls.

clf = edgebrain.Classifier.load("edge")
clf.classify("scan.png").triage
for prediction in clf.classify_many(paths): ...
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgebrain import decision
from edgebrain import device as machine
from edgebrain.bundle import Artifact, Bundle, Manifest, manifest_tree, open_bundle
from edgebrain.engines import Engine, EngineOptions, open_engine
from edgebrain.errors import EngineFailed, UsageError
from edgebrain.ready import ReadyScan, Source, read_ready
from edgebrain.seal import answer_sha256
from edgebrain.types import (
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

_CONCURRENT = frozenset({"onnxruntime", "openvino"})
"""Engines that several threads may run at the same time."""


READ_TWICE = "read by two networks"


class _Outcome(NamedTuple):
    """What an engine makes of one image: logits [K], the outlier score of a model that has one, who read it and how."""

    logits: Float32
    outlier: float | None
    read_twice: bool
    contradicted: bool


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
        self.model = ModelRef(manifest.id, manifest.version, engine.info.precision, _digest(manifest, artifact))
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
        second_reader: bool = True,
    ) -> Classifier:
        """Open a model.

        Args:
            model: Name of a built-in bundle, or a bundle's folder.
            engine: Engine by name; the best for this machine if None.
            precision: ``fp32``, ``fp16`` or ``int8``, or the name of a file's layout where a model has two files of one
                precision (``u8s8``, ``u8s8-reduced``); the best for this machine if None.
            threads: CPU threads; all this process may use if None.
            device: ``cpu`` ...
            throughput: Share the threads out to batches that run side by side, instead of splitting each batch: more
                scans per second in :meth:`classify_many`, a longer wait for a single one.
            second_reader: Let the model's second reader, if it has one, read what it is meant to read, too.
                The decision is fitted for both; without it only what the first network gives means anything.

        Raises:
            UsageError: There is no such model, engine or precision.
            BundleError: The bundle is not what it says.
            EngineError: The engine cannot run here, or refuses the graph.
        """
        bundle = open_bundle(model)
        if not second_reader:
            bundle = bundle.first_alone()
        request = machine.request_of(engine, precision, threads, device)
        facts = machine.probe()
        choice = machine.choose(facts, request, bundle.manifest)
        on_cpu = choice.device == "cpu" and choice.engine in _CONCURRENT
        workers = choice.threads if throughput and on_cpu and choice.threads <= facts.cpus else 1
        options = EngineOptions(choice.threads // workers, choice.device, streams=workers, precision=choice.precision)
        return cls(bundle, open_engine(bundle, choice.artifact, options, choice.engine), choice, workers)

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

        A scan that cannot be used gives a record with ``status`` ``error``; the rest goes on. Until the last record
        OpenCV's log is silent and its own threads rest, in the whole process.

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
        return read_ready(source, self.bundle.manifest.input)

    def predict(self, ready: list[ReadyScan]) -> list[Prediction]:
        """Run the engine on a batch and decide; failed scans pass through as error records, in their place.

        Raises:
            EngineFailed: The engine broke.
        """
        images = [r.prepared.image for r in ready if r.prepared is not None]
        started = time.perf_counter()
        rows = iter(self._run(np.stack(images))) if images else iter(())
        infer_ms = (time.perf_counter() - started) * 1e3 / max(1, len(images))
        return [self._error(r) if r.prepared is None else self._answer(r, next(rows), infer_ms) for r in ready]

    def _run(self, images: Image8) -> list[_Outcome]:
        """What the engine makes of every image."""
        outputs = self.engine.run(images)
        n, manifest = len(images), self.bundle.manifest
        logits = self._checked(outputs, "logits", (n, len(manifest.labels)))
        scores: list[float | None] = [None] * n
        if manifest.graph.outlier is not None:
            scores = [decision.outlier_score(float(one)) for one in self._checked(outputs, "outlier", (n,))]
        read_twice = (outputs.get("readers", np.ones(n)) > 1).tolist()
        contradicted = (outputs.get("contradicted", np.zeros(n)) > 0).tolist()
        return [_Outcome(*one) for one in zip(logits, scores, read_twice, contradicted, strict=True)]

    def _checked(self, outputs: dict[str, Float32], role: str, expected: tuple[int, ...]) -> Float32:
        values = outputs.get(role)
        if values is None or values.shape != expected:
            found = "nothing" if values is None else values.shape
            raise EngineFailed(f"{self.choice.artifact.file} gives {role} {found} instead of {expected}.")
        if not np.isfinite(values).all():
            # No answer may rest on such numbers, and whatever made them is broken for other scans, too.
            raise EngineFailed(
                f"{self.choice.artifact.file} gives {role} that are not finite on {self.engine.info.provider}.",
                remedy="Try another precision (--precision fp32) and check the bundle.",
            )
        return values

    def _answer(self, ready: ReadyScan, found: _Outcome, infer_ms: float) -> Prediction:
        assert ready.scan is not None
        assert ready.prepared is not None
        manifest = self.bundle.manifest
        verdict = decision.decide(
            found.logits,
            manifest.labels,
            manifest.negative_label,
            manifest.decision,
            color_fraction=ready.scan.color_fraction,
            outlier=found.outlier,
            contradicted=found.contradicted,
        )
        return Prediction(
            path=ready.path,
            frame=ready.frame,
            status="ok",
            label=verdict.label,
            probabilities=verdict.probabilities,
            tumor_probability=verdict.tumor_probability,
            outlier_score=found.outlier,
            triage=verdict.triage,
            reasons=(*verdict.reasons, *((READ_TWICE,) if found.read_twice else ())),
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


def _digest(manifest: Manifest, artifact: Artifact) -> str:
    """What names the model that answers: its file, and all else that its word depends on."""
    return hashlib.sha256(f"{artifact.sha256} {answer_sha256(manifest_tree(manifest))}".encode()).hexdigest()


def _path(name: object) -> str:
    path = os.fspath(name) if isinstance(name, str | os.PathLike) else name
    if not isinstance(path, str):
        raise UsageError(
            f"classify_many() takes paths, not {type(path).__name__}.",
            remedy="Give the bytes of a file or an array to classify().",
        )
    return path


def _timing(ready: ReadyScan, infer_ms: float) -> Timing:
    total = ready.read_ms + ready.preprocess_ms + infer_ms
    return Timing(*(round(v, 3) for v in (ready.read_ms, ready.preprocess_ms, infer_ms, total)))
