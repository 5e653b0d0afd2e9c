"""What runs here and why, and whether it computes the right numbers."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from edgebrain import device
from edgebrain.bundle import Artifact, Bundle
from edgebrain.engines import ENGINES, EngineInfo, EngineOptions, open_engine
from edgebrain.errors import EdgebrainError
from edgebrain.selftest import SelfTest, self_test

LIBRARIES = ("numpy", "opencv-python", "opencv-python-headless", "onnxruntime", "typer", "rich", "msgspec")


@dataclass(frozen=True)
class Trial:
    """One file of the bundle, tried on this machine.

    Attributes:
        file: File of the bundle.
        chosen: Whether the automatic choice takes it.
        engine: What ran it, read back; None when it could not be opened.
        test: Result of the self-test; None when it could not run.
        problem: Why not.
    """

    file: str
    chosen: bool
    engine: EngineInfo | None
    test: SelfTest | None
    problem: str | None


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
        """Whether the file that would be chosen computes the right numbers."""
        return all(trial.test is not None and trial.test.passed for trial in self.trials if trial.chosen)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        tree = asdict(self)
        tree["facts"]["int8_flags"] = sorted(self.facts.int8_flags)
        tree["choice"]["artifact"] = {"file": self.choice.artifact.file, "precision": self.choice.artifact.precision}
        tree["healthy"] = self.healthy
        return tree

    @property
    def advice(self) -> str | None:
        """What is wrong with the chosen file, and what to do; None when nothing is."""
        chosen = next((trial for trial in self.trials if trial.chosen), None)
        if self.healthy or chosen is None:
            return None
        if chosen.test is None:
            return f"The chosen file {chosen.file} was not tested: {chosen.problem}"
        exact = [t for t in self.trials if t.test is not None and t.test.passed and t.test.precision == "fp32"]
        way_out = "use --precision fp32." if exact else "do not use this model on this machine."
        return f"The chosen file {chosen.file} does not compute what its maker computed: {way_out}"


def diagnose(bundle: Bundle, request: device.Request) -> Diagnosis:
    """Look at the machine, choose as ``classify`` would, and test every file of the bundle.

    Raises:
        EngineUnavailable: Nothing can run as asked.
    """
    facts = device.probe()
    choice = device.choose(facts, request, bundle.manifest)
    options = EngineOptions(threads=choice.threads, device=choice.device)
    return Diagnosis(
        facts=facts,
        python=sys.version.split()[0],
        libraries=library_versions(),
        engines={name: facts.unavailable.get(name, "available") for name in ENGINES},
        choice=choice,
        trials=tuple(_try(bundle, a, options, chosen=a == choice.artifact) for a in bundle.manifest.artifacts),
    )


def _try(bundle: Bundle, artifact: Artifact, options: EngineOptions, *, chosen: bool) -> Trial:
    info, test, problem = None, None, None
    if artifact.engine not in ENGINES:
        # Not a fault of the bundle: a later edgebrain may have that engine.
        problem = f"it is made for {artifact.engine!r}, an engine that this edgebrain does not have."
        return Trial(artifact.file, chosen, info, test, problem)
    try:
        with closing(open_engine(bundle, artifact, options)) as engine:
            info = engine.info
            test = self_test(bundle, engine)
    except EdgebrainError as error:
        problem = str(error)
    return Trial(artifact.file, chosen, info, test, problem)


def library_versions() -> dict[str, str]:
    """Versions of what the runtime stands on, as installed."""
    return {name: version for name in LIBRARIES if (version := _version(name))}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
