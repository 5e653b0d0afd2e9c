"""What runs here and why, and whether it computes the right numbers."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from typing import Any

from edgebrain import device
from edgebrain.bundle import Artifact, Bundle
from edgebrain.engines import (
    ENGINES,
    EngineInfo,
    EngineOptions,
    open_engine,
    record_of,
    unavailable_because,
    unreadable_because,
)
from edgebrain.engines.two_readers import reader_alone
from edgebrain.errors import EdgebrainError
from edgebrain.selftest import SelfTest, self_test

LIBRARIES = (
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "cuda-bindings",
    "typer",
    "rich",
    "msgspec",
)


@dataclass(frozen=True)
class Trial:
    """One file of the bundle, tried on this machine with one engine.

    Attributes:
        file: File of the bundle.
        name: Engine that was to run it.
        chosen: Whether answers rest on it: the automatic choice takes it, or it is the second reader.
        engine: What ran it, read back; None when it could not be opened.
        test: Result of the self-test; None when it could not run.
        problem: Why not.
        second_reader: Whether it reads some scans only, after another file.
    """

    file: str
    name: str
    chosen: bool
    engine: EngineInfo | None
    test: SelfTest | None
    problem: str | None
    second_reader: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """Everything that ``edgebrain doctor`` says."""

    facts: device.Facts
    python: str
    libraries: dict[str, str]
    engines: dict[str, str]
    choice: device.Choice
    trials: tuple[Trial, ...]

    @property
    def healthy(self) -> bool:
        """Whether the files that answers rest on compute the right numbers."""
        return not self._faulty

    @property
    def _faulty(self) -> list[Trial]:
        return [t for t in self.trials if t.chosen and not (t.test is not None and t.test.passed)]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        tree = asdict(self)
        tree["facts"]["int8_flags"] = sorted(self.facts.int8_flags)
        tree["facts"]["fp16_flags"] = sorted(self.facts.fp16_flags)
        tree["choice"]["artifact"] = {"file": self.choice.artifact.file, "precision": self.choice.artifact.precision}
        tree["healthy"] = self.healthy
        return tree

    @property
    def advice(self) -> str | None:
        """What is wrong with the chosen file, and what to do; None when nothing is."""
        if self.healthy:
            return None
        chosen = self._faulty[0]
        if chosen.test is None:
            return f"The chosen file {chosen.file} was not tested: {chosen.problem}"
        first = [t for t in self.trials if not t.second_reader]
        exact = any(t.test is not None and t.test.passed and t.test.precision == "fp32" for t in first)
        helps = exact and not any(t.second_reader for t in self._faulty)
        way_out = "use --precision fp32." if helps else "do not use this model on this machine."
        return f"The chosen file {chosen.file} does not compute what its maker computed: {way_out}"


def diagnose(bundle: Bundle, request: device.Request) -> Diagnosis:
    """Look at the machine, choose as ``classify`` would, and test every file of the bundle.

    Raises:
        EngineUnavailable: Nothing can run as asked.
    """
    facts = device.probe()
    choice = device.choose(facts, request, bundle.manifest)
    trials = [_try(bundle, one, choice, request) for one in device.candidates_of(bundle.manifest, request)]
    trials.append(_try_second_reader(bundle, choice.threads))
    return Diagnosis(
        facts=facts,
        python=sys.version.split()[0],
        libraries=library_versions(),
        engines={name: facts.unavailable.get(name, "available") for name in ENGINES},
        choice=choice,
        trials=tuple(trial for trial in trials if trial is not None),
    )


def _try(bundle: Bundle, candidate: device.Candidate, choice: device.Choice, request: device.Request) -> Trial | None:
    """Try one way to run the model; None where that is none of this machine, and nobody asked for it."""
    artifact, name = candidate.artifact, candidate.engine
    chosen = artifact == choice.artifact and name == choice.engine
    if name not in ENGINES:
        # Not a fault of the bundle: a later edgebrain may have that engine.
        problem = f"it is made for {name!r}, an engine that this edgebrain does not have."
        return Trial(artifact.file, name, chosen, None, None, problem)
    record = record_of(name)
    foreign = artifact.engine != name and (unavailable_because(record) or unreadable_because(record, artifact))
    # To build a TensorRT engine takes minutes: only for what is chosen or asked for.
    if foreign or (name == "tensorrt" and request.engine != name and not chosen):
        return None
    target = choice.device if choice.device in record.devices else record.devices[0]
    options = EngineOptions(choice.threads, target, precision=candidate.precision)
    return _tested(bundle, artifact, name, options, chosen=chosen)


def _try_second_reader(bundle: Bundle, threads: int) -> Trial | None:
    """Try the second reader, which runs on the CPU whatever runs the first one; None where there is none."""
    second = bundle.manifest.second_reader
    if second is None:
        return None
    alone = reader_alone(bundle, second)
    trial = _tested(alone, second.artifact, second.artifact.engine, EngineOptions(threads), chosen=True)
    return replace(trial, second_reader=True)


def _tested(bundle: Bundle, artifact: Artifact, name: str, options: EngineOptions, *, chosen: bool) -> Trial:
    info, test, fault = None, None, None
    try:
        with closing(open_engine(bundle.first_alone(), artifact, options, name)) as engine:
            info = engine.info
            test = self_test(bundle, engine, artifact)
    except EdgebrainError as error:
        fault = str(error)
    return Trial(artifact.file, name, chosen, info, test, fault)


def library_versions() -> dict[str, str]:
    """Versions of what the runtime stands on, as installed."""
    return {name: version for name in LIBRARIES if (version := _version(name))}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
