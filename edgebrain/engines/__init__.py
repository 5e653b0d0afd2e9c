"""The engine registry: data, so that knowing an engine costs no import."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgebrain.bundle import Artifact, Bundle
from edgebrain.engines.base import Engine, EngineFactory, EngineInfo, EngineOptions
from edgebrain.errors import EngineUnavailable, UsageError
from edgebrain.types import Precision

__all__ = [
    "ENGINES",
    "Engine",
    "EngineInfo",
    "EngineOptions",
    "EngineRecord",
    "open_engine",
    "record_of",
    "unavailable_because",
    "unreadable_because",
]


@dataclass(frozen=True)
class EngineRecord:
    """One line of the registry.

    Attributes:
        name: What users call it.
        factory: ``module:Class`` that opens files.
        needs: Python modules that must be there.
        remedy: How to get them.
        devices: Devices that it can run on; the first is its own choice.
        reads: Files of other engines that it can run too: the engine they are made for, and a precision.
    """

    name: str
    factory: str
    needs: tuple[str, ...]
    remedy: str
    devices: tuple[str, ...]
    reads: tuple[tuple[str, Precision], ...] = ()


ENGINES: Mapping[str, EngineRecord] = MappingProxyType(
    {
        "onnxruntime": EngineRecord(
            name="onnxruntime",
            factory="edgebrain.engines.ort:OrtEngine",
            needs=("onnxruntime",),
            remedy="Install it with: pip install onnxruntime",
            devices=("cpu", "cuda", "tensorrt"),
        ),
        "openvino": EngineRecord(
            name="openvino",
            factory="edgebrain.engines.ov:OvEngine",
            needs=("openvino",),
            remedy="Install it with: pip install 'edgebrain[openvino]'",
            devices=("cpu", "gpu"),
            reads=(("onnxruntime", Precision.FP32), ("onnxruntime", Precision.INT8)),
        ),
        "tensorrt": EngineRecord(
            name="tensorrt",
            factory="edgebrain.engines.trt:TrtEngine",
            needs=("tensorrt",),
            remedy=(
                "JetPack brings it (sudo apt install nvidia-jetpack). On the device, run: "
                "edgebrain doctor --engine tensorrt"
            ),
            devices=("cuda", "dla"),
            reads=(("onnxruntime", Precision.FP32),),
        ),
    }
)


def record_of(name: str) -> EngineRecord:
    """Look an engine up.

    Raises:
        UsageError: There is no engine of that name.
    """
    if name not in ENGINES:
        raise UsageError(f"There is no engine {name!r}.", remedy=f"Known: {', '.join(ENGINES)}.")
    return ENGINES[name]


def unavailable_because(record: EngineRecord) -> str | None:
    """Why an engine cannot be used on this machine, or None if it can; imports nothing."""
    missing = [module for module in record.needs if not _installed(module)]
    return f"the Python module {missing[0]!r} is not installed" if missing else None


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # it is in memory, but says not where it comes from
        return module in sys.modules


def unreadable_because(record: EngineRecord, artifact: Artifact) -> str | None:
    """Why an engine cannot run a file, or None if it can."""
    if artifact.engine == record.name or (artifact.engine, artifact.precision) in record.reads:
        return None
    if artifact.engine in dict(record.reads) and artifact.precision is Precision.INT8:
        return "its 8-bit layout is made for CPUs; 'edgebrain export --format tensorrt' makes the other one"
    return f"the file is made for {artifact.engine}"


def open_engine(bundle: Bundle, artifact: Artifact, options: EngineOptions, engine: str | None = None) -> Engine:
    """Open a file of a bundle.

    Args:
        bundle: The model.
        artifact: One of its files.
        options: How it is to run.
        engine: Which engine is to run it; the one it was made for if None.

    Raises:
        UsageError: There is no such engine.
        EngineUnavailable: A library or device is missing, or the engine does not run such files.
        EngineFailed: The engine refuses the graph.
        BundleError: The file is not what the manifest says.
    """
    record = record_of(artifact.engine if engine is None else engine)
    reason = unavailable_because(record)
    if reason is not None:
        raise EngineUnavailable(f"The engine {record.name} cannot be used: {reason}.", remedy=record.remedy)
    reason = unreadable_because(record, artifact)
    if reason is not None:
        raise EngineUnavailable(f"The engine {record.name} cannot run {artifact.file}: {reason}.")
    module, _, name = record.factory.partition(":")
    factory: EngineFactory = getattr(importlib.import_module(module), name)
    return _read_twice(bundle, _headed(bundle, factory(bundle, artifact, options)), options)


def _read_twice(bundle: Bundle, engine: Engine, options: EngineOptions) -> Engine:
    """Let the bundle's second reader, where it has one, read what it is asked about."""
    if bundle.manifest.second_reader is None:
        return engine
    from edgebrain.engines.two_readers import paired

    # The second runs on the CPU, whatever runs the first: it is asked too seldom to earn an accelerator.
    return paired(bundle, engine, options, lambda b, a: open_engine(b, a, EngineOptions(threads=options.threads)))


def _headed(bundle: Bundle, engine: Engine) -> Engine:
    """Let the bundle's head make the logits, where it has one."""
    if bundle.manifest.head is None:
        return engine
    # Only adapted models need them: reading archives costs start-up time.
    from edgebrain.engines.headed import HeadedEngine, read_head

    return HeadedEngine(engine, read_head(bundle, bundle.manifest.head))
