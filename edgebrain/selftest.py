"""Does this machine compute what the model's maker computed? Golden inputs and outputs travel in the bundle.

The same INT8 file gives other numbers on processors without VNNI or dot-product instructions, because pairs of 8-bit
products saturate in 16 bits there (onnxruntime#14642). No accuracy table can show that; running the file here does.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgebrain.arrays import read_arrays
from edgebrain.bundle import Artifact, Bundle
from edgebrain.decision import outlier_score, probabilities_of
from edgebrain.engines import Engine
from edgebrain.errors import EngineFailed, InvalidManifest
from edgebrain.manifest import Manifest
from edgebrain.types import Float32, Image8

TOLERANCE = {"fp32": 1e-3, "fp16": 1e-2, "int8": 3e-2}
"""Largest difference of a probability that is still the same answer, by precision."""

_PREFIX = "logits_"
_OUTLIER_PREFIX = "outlier_"


@dataclass(frozen=True)
class Golden:
    """What a bundle stores.

    Attributes:
        images: uint8 [N, 1, H, W], prepared phantoms.
        logits: float32 [N, K] by precision; by layout, too, for files that compute otherwise than others of it.
        outlier: float32 [N] by the same names, of a model with an outlier output.
    """

    images: Image8
    logits: dict[str, Float32]
    outlier: dict[str, Float32] = field(default_factory=dict)


@dataclass(frozen=True)
class SelfTest:
    """Result of running the golden inputs here.

    Attributes:
        precision: Precision of the file that ran.
        images: Number of golden inputs.
        worst: Largest difference of any probability, or of an outlier score.
        tolerance: What is allowed.
        labels_agree: Whether every best label is the stored one.
    """

    precision: str
    images: int
    worst: float
    tolerance: float
    labels_agree: bool

    @property
    def passed(self) -> bool:
        """Whether this machine computes the same answers."""
        return self.labels_agree and self.worst <= self.tolerance


def write_golden(golden: Golden) -> bytes:
    """The golden file's bytes; no pickle."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"images": golden.images}
    arrays |= {f"{_PREFIX}{k}": v for k, v in golden.logits.items()}
    arrays |= {f"{_OUTLIER_PREFIX}{k}": v for k, v in golden.outlier.items()}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def read_golden(bundle: Bundle) -> Golden:
    """The golden inputs and outputs of a bundle.

    Raises:
        InvalidManifest: It has none, or the file is not what it should be.
        HashMismatch: The file was changed.
    """
    entry = bundle.manifest.golden
    if entry is None:
        raise InvalidManifest(f"{bundle.folder} has no golden outputs.", remedy="Export the model again.")
    path, data = bundle.folder / entry.file, bundle.read(entry)
    try:
        arrays = read_arrays(data)
    except ValueError as error:
        raise InvalidManifest(f"{path} holds no golden outputs: {error}.", remedy="Export the model again.") from error
    fault = _fault(arrays, bundle.manifest)
    if fault is not None:
        raise InvalidManifest(f"{path} holds no golden outputs: {fault}.", remedy="Export the model again.")
    images = arrays.pop("images")
    logits, outlier = (
        {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
        for prefix in (_PREFIX, _OUTLIER_PREFIX)
    )
    return Golden(images, logits, outlier)


def _fault(arrays: dict[str, np.ndarray[Any, Any]], manifest: Manifest) -> str | None:
    images = arrays.get("images")
    spec = manifest.input
    if images is None:
        return "there are no images in it"
    if images.dtype != np.uint8 or images.shape[1:] != (1, spec.height, spec.width) or not len(images):
        return f"its images are {images.dtype} {images.shape}, not uint8 (N, 1, {spec.height}, {spec.width})"
    expected = (len(images), len(manifest.labels))
    for name, values in arrays.items():
        if name == "images":
            continue
        if not name.startswith((_PREFIX, _OUTLIER_PREFIX)):
            return f"it has the unknown array {name!r}"
        shape = expected if name.startswith(_PREFIX) else expected[:1]
        if values.dtype != np.float32 or values.shape != shape:
            return f"{name} is {values.dtype} {values.shape}, not float32 {shape}"
        if not np.isfinite(values).all():
            return f"{name} is not finite"
    return None


def self_test(bundle: Bundle, engine: Engine, artifact: Artifact | None = None) -> SelfTest:
    """Run the golden inputs and compare.

    Args:
        bundle: The model.
        engine: One of its files, opened.
        artifact: That file, which may have outputs of its own; None takes those of the engine's precision.

    Raises:
        InvalidManifest: The bundle has no golden outputs for this precision.
        EngineFailed: The engine broke, or gives another number of logits than there are labels.
    """
    golden = read_golden(bundle)
    precision = engine.info.precision
    stored_as = _stored_as(golden, precision, None if artifact is None else artifact.layout)
    limited = bundle.manifest.decision.max_outlier is not None
    if stored_as not in golden.logits or (limited and stored_as not in golden.outlier):
        raise InvalidManifest(f"{bundle.folder} has no golden outputs for {precision}.", remedy="Export it again.")
    temperature = bundle.manifest.decision.temperature
    expected = probabilities_of(golden.logits[stored_as], temperature)
    # One by one, as a single scan runs.
    outputs = [engine.run(golden.images[i : i + 1]) for i in range(len(golden.images))]
    logits = np.concatenate([output["logits"] for output in outputs])
    if logits.shape != expected.shape:
        raise EngineFailed(f"{engine.info.name} gives logits {logits.shape} where {expected.shape} are expected.")
    found = probabilities_of(logits, temperature)
    worst = float(np.abs(found - expected).max())
    if limited:
        scores = [outlier_score(float(output["outlier"][0])) for output in outputs]
        stored = [outlier_score(float(logit)) for logit in golden.outlier[stored_as]]
        worst = max(worst, float(np.abs(np.subtract(scores, stored)).max()))
    return SelfTest(
        precision=precision,
        images=len(expected),
        worst=worst,
        tolerance=TOLERANCE[precision],
        labels_agree=bool((found.argmax(1) == expected.argmax(1)).all()),
    )


def _stored_as(golden: Golden, precision: str, layout: str | None) -> str:
    if layout in golden.logits:
        return str(layout)
    if precision == "fp16" and precision not in golden.logits:
        return "fp32"  # what fp16 approximates; its own tolerance allows for the rounding
    return precision
