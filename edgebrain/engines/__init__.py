"""The engine registry: data, so that knowing an engine costs no import."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgebrain.bundle import Artifact, Bundle
from edgebrain.engines.base import Engine, EngineFactory, EngineInfo, EngineOptions
from edgebrain.errors import EngineUnavailable, UsageError

__all__ = [
    "ENGINES",
    "Engine",
    "EngineInfo",
    "EngineOptions",
    "EngineRecord",
    "open_engine",
    "record_of",
    "unavailable_because",
]


@dataclass(frozen=True)
class EngineRecord:
    """One line of the registry.

    Attributes:
        name: What users call it.
        factory: ``module:Class`` that opens files.
        needs: Python modules that must be there.
        remedy: How to get them.
        devices: Devices that it can run on.
    """

    name: str
    factory: str
    needs: tuple[str, ...]
    remedy: str
    devices: tuple[str, ...]


ENGINES: Mapping[str, EngineRecord] = MappingProxyType(
    {
        "onnxruntime": EngineRecord(
            name="onnxruntime",
            factory="edgebrain.engines.ort:OrtEngine",
            needs=("onnxruntime",),
            remedy="Install it with: pip install onnxruntime",
            devices=("cpu",),
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
    missing = [module for module in record.needs if importlib.util.find_spec(module) is None]
    return f"the Python module {missing[0]!r} is not installed" if missing else None


def open_engine(bundle: Bundle, artifact: Artifact, options: EngineOptions) -> Engine:
    """Open a file of a bundle with the engine it was made for.

    Raises:
        EngineUnavailable: A library or device is missing.
        EngineFailed: The engine refuses the graph.
        BundleError: The file is not what the manifest says.
    """
    record = record_of(artifact.engine)
    reason = unavailable_because(record)
    if reason is not None:
        raise EngineUnavailable(f"The engine {record.name} cannot be used: {reason}.", remedy=record.remedy)
    module, _, name = record.factory.partition(":")
    factory: EngineFactory = getattr(importlib.import_module(module), name)
    return _headed(bundle, factory(bundle, artifact, options))


def _headed(bundle: Bundle, engine: Engine) -> Engine:
    """Let the bundle's head make the logits, where it has one."""
    if bundle.manifest.head is None:
        return engine
    # Only adapted models need them: reading archives costs start-up time.
    from edgebrain.engines.headed import HeadedEngine, read_head

    return HeadedEngine(engine, read_head(bundle, bundle.manifest.head))
