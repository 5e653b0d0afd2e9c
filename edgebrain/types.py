"""What every layer speaks: frozen records and enums, without behaviour or dependencies of ours."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

AnyPixels = npt.NDArray[Any]
Image8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

PREPROCESSING_VERSION = 3
"""Version of what ``preprocessing.py`` does, and what it calls; here, so that a bundle can be judged without them."""
PREPROCESSING_VERSIONS = (1, 2, 3)
"""Versions that it can still do, for bundles that were verified with them."""
RECORD_SCHEMA = 1
"""Version of the prediction record; raised when a field changes its meaning or goes away."""


class Triage(str, enum.Enum):
    """What a prediction asks of the reading list. A person reads every scan whatever it says."""

    PRIORITISE = "prioritise"
    STANDARD = "standard"
    CANNOT_ASSESS = "cannot_assess"


class Precision(str, enum.Enum):
    """Arithmetic of a model file."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


@dataclass(frozen=True)
class Scan:
    """One slice or frame, as a reader hands it on.

    Attributes:
        pixels: 2-D array of any integer or float dtype, bright is bright.
        source: The path exactly as the caller gave it, or a name such as ``<array>``.
        frame: Index of the frame in its file, from 0.
        frames: Number of frames in the file.
        format: Container format, ``png`` or ``tiff`` for instance.
        sha256: Hex digest of the file's bytes (of dtype, shape and pixels for an array).
        color_fraction: Share of pixels in [0, 1] that are clearly coloured. MRI slices are grey.
        spacing: Row and column spacing in millimetres, where the file says it.
        warnings: Things a person should know about how the pixels were obtained.
    """

    pixels: AnyPixels
    source: str
    frame: int = 0
    frames: int = 1
    format: str = "array"
    sha256: str = ""
    color_fraction: float = 0.0
    spacing: tuple[float, float] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class InputSpec:
    """What the graph expects of its input; travels in the bundle and in the ONNX metadata.

    Attributes:
        width: Columns in pixels.
        height: Rows in pixels.
        preprocessing: Version of the algorithm in ``preprocessing.py`` that the model was verified with.
        head_crop: Whether the empty surroundings of the head are cut away.
        low_percentile: Lower percentile of the intensity mapping of anything but uint8.
        high_percentile: Upper percentile of the same.
    """

    width: int = 160
    height: int = 160
    preprocessing: int = PREPROCESSING_VERSION
    head_crop: bool = True
    low_percentile: float = 0.5
    high_percentile: float = 99.5


@dataclass(frozen=True)
class Intensity:
    """How pixel values became uint8: passed through (``native``), or mapped linearly from [low, high]."""

    mode: Literal["native", "percentile"]
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Prepared:
    """A scan ready for the graph.

    Attributes:
        image: uint8 [1, H, W].
        intensity: The mapping that was used.
        warnings: What a person should know about it.
    """

    image: Image8
    intensity: Intensity
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelRef:
    """Which file answered, or with a second reader, which two: then ``sha256`` is over both hashes and its numbers."""

    id: str
    version: str
    precision: str
    sha256: str


@dataclass(frozen=True)
class EngineRef:
    """What ran it; ``provider`` is read back from the engine, not what was asked for."""

    name: str
    provider: str
    threads: int


@dataclass(frozen=True)
class InputRef:
    """What was read."""

    sha256: str
    format: str
    width: int
    height: int
    intensity: Intensity


@dataclass(frozen=True)
class Timing:
    """Milliseconds per stage. ``infer`` is the batch's time divided by its size; ``total`` is their sum."""

    read: float = 0.0
    preprocess: float = 0.0
    infer: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class ErrorRef:
    """Why a scan has no answer."""

    code: str
    message: str


@dataclass(frozen=True)
class Prediction:
    """The record of one scan; one line of JSONL. docs/reference/records.md describes every field.

    Attributes:
        path: Exactly what the caller gave, or the file found under a given folder, joined to it.
        frame: Index of the frame in its file.
        status: ``ok``, or ``error`` when there is no answer.
        label: The most probable label, also when ``triage`` is ``cannot_assess``.
        probabilities: Calibrated probability per label; they sum to 1.
        tumor_probability: One minus the probability of the negative label; absent where a model has none.
        outlier_score: How little the picture is like a brain MRI slice, 0 to 1; absent where a model does not say.
        triage: See Triage; absent on errors.
        reasons: Why ``triage`` is what it is, in words, and that two networks read the scan where they did.
        model: Which file answered.
        engine: What ran it.
        input: What was read; absent where nothing could be.
        timing_ms: Milliseconds per stage.
        warnings: What a person should know.
        error: Why there is no answer.
        schema: Version of this record.
    """

    path: str
    frame: int
    status: Literal["ok", "error"]
    label: str | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    tumor_probability: float | None = None
    outlier_score: float | None = None
    triage: Triage | None = None
    reasons: tuple[str, ...] = ()
    model: ModelRef | None = None
    engine: EngineRef | None = None
    input: InputRef | None = None
    timing_ms: Timing = field(default_factory=Timing)
    warnings: tuple[str, ...] = ()
    error: ErrorRef | None = None
    schema: int = RECORD_SCHEMA
