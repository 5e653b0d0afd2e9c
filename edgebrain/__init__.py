"""edgebrain: pre-triage of brain MRI slices on small hardware.

    import edgebrain
    clf = edgebrain.Classifier.load("edge")
    prediction = clf.classify("scan.png")

Not a medical device. A person reads every scan. Importing this package loads neither numpy nor an engine.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from edgebrain.errors import EdgebrainError

if TYPE_CHECKING:
    from edgebrain.bundle import Bundle, open_bundle
    from edgebrain.classifier import Classifier
    from edgebrain.types import Precision, Prediction, Scan, Triage

# From 1.29 on ONNX Runtime keeps a device id and events in the user's cache and sends them to its maker, unless this is
# set before its library is loaded. Here, because no part of edgebrain can be imported without this module.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

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
