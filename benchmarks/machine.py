"""What it was measured on."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata

LIBRARIES = (
    "edgebrain",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "onnxruntime",
    "openvino",
    "typer",
    "torch",
    "torchvision",
)
BUSY = 0.5
"""Load average of one minute, per CPU, above which other programs share the machine."""


def machine_facts() -> dict[str, str | int | float]:
    """Processor, CPUs in use, memory, system, Python, and how busy it is."""
    from edgebrain.device import probe

    facts = probe()
    return {
        "processor": facts.cpu or facts.machine,
        "architecture": facts.machine,
        "board": facts.board,
        "int8_instructions": ", ".join(sorted(facts.int8_flags)),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(facts.memory_bytes / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        "load_average": os.getloadavg()[0],
    }


def busy() -> bool:
    """Whether other programs share the machine at this moment."""
    return os.getloadavg()[0] > BUSY * (os.cpu_count() or 1)


def library_versions() -> dict[str, str]:
    """Versions of what matters, as installed."""
    installed = {found.name.lower(): found.version for found in metadata.distributions() if found.name}
    return {name: installed[name] for name in LIBRARIES if name in installed}


def model_facts(model: str) -> dict[str, str]:
    """Which file of which model was measured."""
    from edgebrain.classifier import Classifier

    used = Classifier.load(model).model
    return {"id": used.id, "version": used.version, "precision": used.precision, "sha256": used.sha256}
