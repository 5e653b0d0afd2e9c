"""edgebrain: pre-triage of brain MRI slices on small hardware.

    import edgebrain
    clf = edgebrain.Classifier.load("edge")
    prediction = clf.classify("scan.png")

Not a medical device. A person reads every scan. Importing this package loads neither numpy nor an engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgebrain.errors import EdgebrainError

if TYPE_CHECKING:
    from edgebrain.bundle import Bundle, open_bundle
    from edgebrain.classifier import Classifier
    from edgebrain.types import Precision, Prediction, Scan, Triage

__version__ = "0.3.0"
__all__ = ["Bundle", "Classifier", "EdgebrainError", "Precision", "Prediction", "Scan", "Triage", "open_bundle"]

_HOMES = {
    "Bundle": "edgebrain.bundle",
    "Classifier": "edgebrain.classifier",
    "Precision": "edgebrain.types",
    "Prediction": "edgebrain.types",
    "Scan": "edgebrain.types",
    "Triage": "edgebrain.types",
    "open_bundle": "edgebrain.bundle",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgebrain' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
