"""What to run on this machine: a pure choice from facts, which explains itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgebrain.bundle import Artifact, Manifest
from edgebrain.engines import ENGINES, EngineRecord, record_of, unreadable_because
from edgebrain.engines.trt_rules import dla_refusal
from edgebrain.errors import EngineUnavailable, UsageError
from edgebrain.facts import Facts, probe
from edgebrain.limits import MAX_THREADS
from edgebrain.types import Precision

__all__ = ["Candidate", "Choice", "Facts", "Request", "choose", "kind_of", "probe", "request_of"]

_REDUCED = "u8s8-reduced"
_GPU_DEVICES = frozenset({"cuda", "tensorrt", "dla"})
_ENGINE_ORDER = ("tensorrt", "onnxruntime", "openvino")
"""TensorRT only ever stands for selection on a machine with a GPU. Of the CPU engines ONNX Runtime comes first: it is
always installed, starts faster, and the two are close once they run (docs/reference/engines.md)."""


@dataclass(frozen=True)
class Request:
    """What the user asked for by name; None leaves the choice open.

    Attributes:
        engine: Engine.
        precision: Arithmetic.
        threads: CPU threads.
        device: Device of the engine.
        layout: How the file is quantised or stored; tells files of one precision apart.
    """

    engine: str | None = None
    precision: Precision | None = None
    threads: int | None = None
    device: str | None = None
    layout: str | None = None


def request_of(engine: str | None, precision: str | None, threads: int | None, device: str | None) -> Request:
    """A request as options give it: a precision is one by name, or the name of a layout, see :func:`kind_of`."""
    try:
        return Request(engine, None if precision is None else Precision(precision), threads, device)
    except ValueError:
        return Request(engine, None, threads, device, precision)  # whether there is one, the model says


def kind_of(artifact: Artifact, manifest: Manifest) -> str:
    """What ``--precision`` calls a file: its precision, or its layout where two files of an engine share that."""
    layout = layout_of(artifact)
    alike = [a for a in manifest.artifacts if (a.engine, a.precision) == (artifact.engine, artifact.precision)]
    return artifact.precision.value if layout is None or len(alike) == 1 else layout


@dataclass(frozen=True)
class Candidate:
    """One way to run a model.

    Attributes:
        artifact: File of the bundle.
        engine: Engine that would run it; not always the one that the file was made for.
        precision: Arithmetic; the file's, but for fp16 asked of OpenVINO on a file in fp32.
    """

    artifact: Artifact
    engine: str
    precision: Precision

    def __str__(self) -> str:
        return f"{self.artifact.file} with {self.engine}"


@dataclass(frozen=True)
class Choice:
    """What will run.

    Attributes:
        artifact: File of the bundle.
        threads: CPU threads.
        device: Device of the engine.
        reasons: Why, in words.
        rejected: Every candidate not taken, with its reason.
        engine: Engine that runs it.
        precision: Arithmetic, where it is another than the file's.
    """

    artifact: Artifact
    threads: int
    device: str
    reasons: tuple[str, ...]
    rejected: tuple[str, ...]
    engine: str = "onnxruntime"
    precision: Precision | None = None


def choose(facts: Facts, request: Request, manifest: Manifest) -> Choice:
    """Choose engine, precision and threads. What was asked for by name is used or refused, never replaced.

    Raises:
        UsageError: The request names something that does not exist.
        EngineUnavailable: Nothing that the request allows can run here.
    """
    _check(facts, request, manifest)
    usable: list[Candidate] = []
    rejected: dict[Candidate, str] = {}
    for candidate in candidates_of(manifest, request):
        reason = _unusable(candidate, facts, request)
        if reason is None:
            usable.append(candidate)
        else:
            rejected[candidate] = reason
    if not usable:
        named = [c for c in rejected if c.engine == request.engine] or list(rejected)
        raise EngineUnavailable(
            f"No file of the model {manifest.id} can run as asked ({'; '.join(f'{c}: {rejected[c]}' for c in named)}).",
            remedy="'edgebrain doctor' shows what runs here.",
        )
    best = _preferred(usable, facts, request)
    threads = request.threads or min(facts.cpus, MAX_THREADS)
    threading = "asked for" if request.threads else "the CPUs this process may use"
    left = [f"{c}: {why}" for c, why in rejected.items()]
    return Choice(
        artifact=best.artifact,
        threads=threads,
        device=request.device or ENGINES[best.engine].devices[0],
        reasons=(
            f"{best.precision.value}: {_why(best, facts, request)}",
            f"{threads} threads: {threading}",
            f"{best.engine}: {_why_engine(best, facts, request)}",
        ),
        rejected=(*left, *(f"{c}: {_why_not(c, best, facts)}" for c in usable if c is not best)),
        engine=best.engine,
        precision=None if best.precision is best.artifact.precision else best.precision,
    )


def _check(facts: Facts, request: Request, manifest: Manifest) -> None:
    layouts = dict.fromkeys(layout for a in manifest.artifacts if (layout := layout_of(a)) is not None)
    if request.layout is not None and request.layout not in layouts:
        known = (*(precision.value for precision in Precision), *layouts)
        raise UsageError(f"There is no precision {request.layout!r}.", remedy=f"Known: {', '.join(known)}.")
    if request.threads is not None and not 1 <= request.threads <= MAX_THREADS:
        raise UsageError(
            f"--threads {request.threads}: that is not between 1 and {MAX_THREADS}.",
            remedy="Leave it out to use all CPUs that this process may use.",
        )
    if request.engine is None:
        return
    record = record_of(request.engine)
    if record.name in facts.unavailable:
        raise EngineUnavailable(
            f"The engine {record.name} cannot be used: {facts.unavailable[record.name]}.", remedy=record.remedy
        )


def candidates_of(manifest: Manifest, request: Request) -> Iterator[Candidate]:
    """Every way that one could think of: each file with the engine it is made for, and with those that may read it."""
    for artifact in manifest.artifacts:
        if artifact.file.endswith(".bin"):
            continue  # weights of an IR file, which is the artifact before it
        if artifact.engine not in ENGINES:
            yield Candidate(artifact, artifact.engine, artifact.precision)
        for name, record in ENGINES.items():
            if artifact.engine == name or artifact.engine in dict(record.reads):
                yield Candidate(artifact, name, _precision_of(artifact, record, request))


def _precision_of(artifact: Artifact, record: EngineRecord, request: Request) -> Precision:
    rounds = record.name == request.engine == "openvino"
    if rounds and request.precision is Precision.FP16 and artifact.precision is Precision.FP32:
        return Precision.FP16
    return artifact.precision


def _unusable(candidate: Candidate, facts: Facts, request: Request) -> str | None:
    artifact, engine = candidate.artifact, candidate.engine
    if request.engine not in (None, engine):
        return f"{request.engine} was asked for"
    if engine not in ENGINES:
        return "this edgebrain has no such engine"
    if request.precision not in (None, candidate.precision) or request.layout not in (None, layout_of(artifact)):
        return f"{request.layout if request.precision is None else request.precision.value} was asked for"
    if engine in facts.unavailable:
        return facts.unavailable[engine]
    record = ENGINES[engine]
    if request.device is not None and request.device not in record.devices:
        return f"the engine does not run on {request.device!r}"
    return unreadable_because(record, artifact) or _unfit(candidate, facts, request)


def _unfit(candidate: Candidate, facts: Facts, request: Request) -> str | None:
    """What speaks against it on this hardware."""
    artifact, engine = candidate.artifact, candidate.engine
    if candidate.precision is not artifact.precision and not facts.fp16_flags:
        return "this processor has no 16-bit floating-point arithmetic, and the bundle has no file in fp16"
    if engine == "onnxruntime" and request.device in _GPU_DEVICES and artifact.precision is Precision.INT8:
        return f"its 8-bit layout is made for CPUs, not for {request.device}"
    if engine != "tensorrt":
        return None
    return _unfit_for_dla(artifact, facts) if request.device == "dla" else _unfit_for_gpu(artifact, facts, request)


def _unfit_for_dla(artifact: Artifact, facts: Facts) -> str | None:
    if not facts.accelerators.dla:
        return "this board has no DLA that edgebrain knows of"
    if artifact.precision is not Precision.FP16:
        return "the DLA runs fp16 only"
    return dla_refusal(facts.tensorrt)


def _unfit_for_gpu(artifact: Artifact, facts: Facts, request: Request) -> str | None:
    # Building an engine takes minutes: unasked, only where there is a GPU, and a file was made for it.
    if request.engine is not None or request.device is not None:
        return None
    if not facts.accelerators.gpu:
        return "no NVIDIA GPU is to be seen"
    if artifact.engine != "tensorrt":
        return "usable by name; by itself edgebrain takes only files that were exported for TensorRT"
    return None


def _preferred(usable: Sequence[Candidate], facts: Facts, request: Request) -> Candidate:
    # Without fp16 arithmetic, fp16 is fp32 with rounded weights: smaller, but neither faster nor more exact.
    floats = [Precision.FP16, Precision.FP32] if facts.fp16_flags else [Precision.FP32, Precision.FP16]
    by_flags = [Precision.INT8, *floats] if facts.int8_flags else [*floats, Precision.INT8]

    def rank(candidate: Candidate) -> tuple[bool, int, bool, bool, int]:
        order = [Precision.INT8, Precision.FP16, Precision.FP32] if candidate.engine == "tensorrt" else by_flags
        position = order.index(candidate.precision)
        reduced = layout_of(candidate.artifact) == _REDUCED
        if reduced and not facts.int8_flags:
            position = -1  # made for just this processor
        return (
            candidate.engine != "tensorrt",
            position,
            # Who asks for an engine by name wants the file that was exported for it, where there is one.
            request.engine is not None and candidate.artifact.engine != candidate.engine,
            reduced and bool(facts.int8_flags),
            _ENGINE_ORDER.index(candidate.engine),
        )

    return min(usable, key=rank)


def layout_of(artifact: Artifact) -> str | None:
    """How the file is quantised or stored, where its manifest says."""
    layout = getattr(artifact, "layout", None)
    return None if layout is None else str(layout)


def _why(best: Candidate, facts: Facts, request: Request) -> str:
    if request.precision is not None or request.layout is not None:
        return "asked for"
    if best.engine == "tensorrt":
        return "the fastest file that the model has for the GPU"
    if best.precision is Precision.INT8 and facts.int8_flags:
        return f"the processor has {', '.join(sorted(facts.int8_flags))}, which makes it the fastest"
    if best.precision is Precision.INT8 and layout_of(best.artifact) == _REDUCED:
        return "this file keeps a bit free, so that it does not saturate on a processor without VNNI"
    if not facts.int8_flags and best.precision is not Precision.INT8:
        return "without VNNI or dot-product instructions int8 saturates and is slow"
    return "the first choice of what can run"


def _why_engine(best: Candidate, facts: Facts, request: Request) -> str:
    if request.engine is not None:
        return "asked for"
    if best.engine == "tensorrt":
        return f"there is a GPU ({facts.accelerators.gpu}) and the model has files for it"
    return "the engine that this file is made for" if best.artifact.engine == best.engine else "what can run here"


def _why_not(candidate: Candidate, best: Candidate, facts: Facts) -> str:
    layout = layout_of(candidate.artifact)
    if layout == _REDUCED and facts.int8_flags:
        return f"usable, but it gives up a bit that this processor does not need; --precision {layout} takes it"
    if layout is not None and layout_of(best.artifact) == _REDUCED and candidate.precision is Precision.INT8:
        return f"usable, but it saturates on a processor without VNNI; --precision {layout} takes it"
    if candidate.precision is not best.precision:
        return f"usable, but {best.precision.value} is preferred here"
    if candidate.engine == best.engine == best.artifact.engine != candidate.artifact.engine:
        return f"usable, but {best.artifact.file} was made for {best.engine}"
    if candidate.engine != best.engine:
        return f"usable, but {best.engine} comes first; --engine {candidate.engine} takes it"
    return f"usable, but the model names {best.artifact.file} with {best.engine} first"
