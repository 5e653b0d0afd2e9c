"""The prediction record as JSON: one line out, one line in.

docs/reference/records.md describes every field. The published JSON schema is regenerated with
``python -m edgebrain.results.records > edgebrain/schemas/prediction.schema.json``.
"""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any

from edgebrain.errors import EdgebrainError, UsageError
from edgebrain.types import RECORD_SCHEMA, Prediction, Triage

if TYPE_CHECKING:
    from collections.abc import Mapping

_MICRO = 1_000_000
_MAX_DRIFT = 10  # millionths
_SUM_TOLERANCE = 1e-5 + 1e-9  # the second term is for the binary representation of six decimals
_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False).encode  # made once: json.dumps makes one a record
_GROUPS = (Triage.PRIORITISE, Triage.CANNOT_ASSESS, None, Triage.STANDARD)


def to_dict(prediction: Prediction) -> dict[str, Any]:
    """Turn a record into plain JSON values; every key is there, in the documented order, null where absent.

    Probabilities have six decimals and still sum to 1 within 1e-5; milliseconds have three.

    Raises:
        EdgebrainError: A number of the record is not finite; JSON has no way to say so.
    """
    try:
        return _plain(prediction)
    except (ValueError, OverflowError) as exc:
        raise EdgebrainError(f"The record of {prediction.path} holds a number that is not finite.") from exc


def to_json(prediction: Prediction) -> str:
    r"""Write a record as one line of pure ASCII, without the newline.

    Control characters and the lone surrogates of file names that are not UTF-8 become ``\u`` escapes: they come
    back exactly, and no terminal escape reaches a terminal.

    Raises:
        EdgebrainError: A number of the record is not finite; JSON has no way to say so.
    """
    return _encode(to_dict(prediction))


def from_json(line: str | bytes) -> Prediction:
    """Read one record and check all of it.

    Raises:
        UsageError: The line is no JSON or no record of this version; the message says where it goes wrong.
    """
    try:
        value = json.loads(line, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as exc:
        raise UsageError(f"This is not a prediction record: it is no valid JSON ({exc}).") from exc
    version = value.get("schema") if isinstance(value, dict) else None
    if isinstance(version, int) and version > RECORD_SCHEMA:
        raise UsageError(
            f"The record has version {version} and this edgebrain knows up to {RECORD_SCHEMA}.",
            remedy="Use the edgebrain that wrote it, or a newer one.",
        )
    from edgebrain.results.record_schema import checked  # msgspec is only paid for by those who read records

    prediction = checked(value)
    if prediction.status == "ok":
        _check_answer(prediction)
    return prediction


def json_schema() -> dict[str, Any]:
    """Describe the record as JSON Schema 2020-12; strict: unknown keys are refused."""
    from edgebrain.results.record_schema import build  # as in from_json

    return build()


def reading_order(status: str, triage: Triage | None, tumor_probability: float | None) -> float:
    """Give the place of a record in the order of ``--sort triage``; the smallest number is read first.

    First what is to be prioritised, by falling tumour probability; then what could not be assessed and what failed,
    since nothing is known about those; what can be read in turn comes last, again by falling tumour probability.
    Where a model gives no tumour probability, the record goes to the front of its group.
    """
    group = _GROUPS.index(triage if status == "ok" else None)
    known = 1.0 if tumor_probability is None else min(max(tumor_probability, 0.0), 1.0)
    return 2.0 * group + (1.0 - known if triage in {Triage.PRIORITISE, Triage.STANDARD} else 0.0)


def _plain(prediction: Prediction) -> dict[str, Any]:
    model, engine, scan, error = prediction.model, prediction.engine, prediction.input, prediction.error
    timing = prediction.timing_ms
    return {
        "schema": int(prediction.schema),
        "path": prediction.path,
        "frame": int(prediction.frame),
        "status": prediction.status,
        "label": prediction.label,
        "probabilities": _rounded(prediction.probabilities),
        "tumor_probability": _number(prediction.tumor_probability, digits=6),
        "outlier_score": _number(prediction.outlier_score, digits=6),
        "triage": None if prediction.triage is None else prediction.triage.value,
        "reasons": list(prediction.reasons),
        "model": None
        if model is None
        else {"id": model.id, "version": model.version, "precision": model.precision, "sha256": model.sha256},
        "engine": None
        if engine is None
        else {"name": engine.name, "provider": engine.provider, "threads": int(engine.threads)},
        "input": None
        if scan is None
        else {
            "sha256": scan.sha256,
            "format": scan.format,
            "width": int(scan.width),
            "height": int(scan.height),
            "intensity": {
                "mode": scan.intensity.mode,
                "low": _number(scan.intensity.low),
                "high": _number(scan.intensity.high),
            },
        },
        "timing_ms": {
            "read": _number(timing.read, digits=3),
            "preprocess": _number(timing.preprocess, digits=3),
            "infer": _number(timing.infer, digits=3),
            "total": _number(timing.total, digits=3),
        },
        "warnings": list(prediction.warnings),
        "error": None if error is None else {"code": error.code, "message": error.message},
    }


def _rounded(probabilities: Mapping[str, float]) -> dict[str, float]:
    units = {label: round(float(p) * _MICRO) for label, p in probabilities.items()}
    drift = _MICRO - sum(units.values())
    # With many labels the rounding adds up; the largest one takes it. A gap too wide for rounding stays to be seen.
    if _MAX_DRIFT < abs(drift) <= len(units):
        units[max(units, key=units.__getitem__)] += drift
    return {label: unit / _MICRO for label, unit in units.items()}


def _number(value: float | None, digits: int | None = None) -> float | None:
    if value is None:
        return None
    number = _finite(value)
    return number if digits is None else round(number, digits)


def _finite(value: float | str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is not a finite number")
    return number


def _check_answer(prediction: Prediction) -> None:
    total = math.fsum(prediction.probabilities.values())
    if abs(total - 1.0) > _SUM_TOLERANCE:
        raise UsageError(f"This is not a prediction record: probabilities sum to {total:.6f} instead of 1.")
    if prediction.label not in prediction.probabilities:
        raise UsageError(f"This is not a prediction record: label {prediction.label!r} has no probability.")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
