"""The shape of a prediction record, said once: it checks records that are read, and it is published as JSON schema.

Imported only where records are read or the schema is asked for; writing records needs none of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgebrain.errors import UsageError
from edgebrain.types import RECORD_SCHEMA, Prediction

_Name = Annotated[str, Meta(min_length=1)]
_Probability = Annotated[float, Meta(ge=0, le=1)]
_Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="SHA-256 in lower-case hexadecimal.")]
_Milliseconds = Annotated[float, Meta(ge=0)]
_Count = Annotated[int, Meta(ge=0)]
_Pixels = Annotated[int, Meta(ge=1)]


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which model file answered."""

    id: _Name
    version: _Name
    precision: _Name
    sha256: _Digest


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ran it; the provider is read back from the engine."""

    name: _Name
    provider: _Name
    threads: _Count


class Intensity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How pixel values became 8 bits: passed through, or mapped linearly from low to high."""

    mode: Literal["native", "percentile"]
    low: float | None
    high: float | None


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was read."""

    sha256: _Digest
    format: _Name
    width: _Pixels
    height: _Pixels
    intensity: Intensity


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Milliseconds per stage; infer is the time of the batch divided by its size."""

    read: _Milliseconds
    preprocess: _Milliseconds
    infer: _Milliseconds
    total: _Milliseconds


class Error(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why there is no answer."""

    code: _Name
    message: str


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One scan, one record. A person reads every scan, whatever the record says."""

    schema: Annotated[Literal[1], Meta(description="Version of the record.")]
    path: Annotated[str, Meta(description="What the caller gave, or the file found under a given folder.")]
    frame: Annotated[int, Meta(ge=0, description="Index of the frame in its file, from 0.")]
    status: Annotated[Literal["ok", "error"], Meta(description="error: there is no answer.")]
    label: Annotated[str | None, Meta(description="The most probable label.")]
    probabilities: Annotated[
        dict[str, _Probability], Meta(description="Calibrated probability per label; they sum to 1 within 0.00001.")
    ]
    tumor_probability: Annotated[
        _Probability | None, Meta(description="One minus the negative label's; null where a model has none.")
    ]
    outlier_score: Annotated[
        _Probability | None,
        Meta(description="How little it is like a brain MRI slice; null where a model does not say."),
    ] = None  # earlier versions of edgebrain wrote no such field
    triage: Annotated[
        Literal["prioritise", "standard", "cannot_assess"] | None,
        Meta(description="standard: read in turn. cannot_assess: no judgement could be made."),
    ]
    reasons: Annotated[list[str], Meta(description="Why triage is what it is; who read the scan, where two did.")]
    model: Model | None
    engine: Engine | None
    input: Input | None
    timing_ms: Timing
    warnings: Annotated[list[str], Meta(description="What a person should know about how the scan was read.")]
    error: Error | None


# What each status asks of the fields that may be null: the JSON type they must have then.
_RULES: dict[str, dict[str, str]] = {
    "ok": {
        "label": "string",
        "triage": "string",
        "model": "object",
        "engine": "object",
        "input": "object",
        "error": "null",
    },
    "error": {
        "label": "null",
        "tumor_probability": "null",
        "outlier_score": "null",
        "triage": "null",
        "error": "object",
    },
}


def checked(value: Any) -> Prediction:
    """Turn parsed JSON into a record.

    Raises:
        UsageError: It has another shape; the message says where.
    """
    try:
        record = msgspec.convert(value, Record)
        prediction = msgspec.convert(value, Prediction)
    except (msgspec.ValidationError, UnicodeError, OverflowError) as exc:
        raise UsageError(f"This is not a prediction record: {exc}.") from exc
    for name, kind in _RULES[record.status].items():
        if (getattr(record, name) is None) != (kind == "null"):
            wanted = "must be null" if kind == "null" else "must not be null"
            raise UsageError(f"This is not a prediction record: {name} {wanted} when status is {record.status}.")
    if (record.status == "ok") != bool(record.probabilities):
        wanted = "must not be empty" if record.status == "ok" else "must be empty"
        raise UsageError(f"This is not a prediction record: probabilities {wanted} when status is {record.status}.")
    return prediction


def build() -> dict[str, Any]:
    """Make the JSON schema (draft 2020-12) of a record."""
    (reference,), parts = msgspec.json.schema_components([Record], ref_template="#/$defs/{name}")
    definitions = dict(sorted(parts.items()))
    record = definitions.pop(reference["$ref"].rpartition("/")[2])
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:edgebrain:prediction:{RECORD_SCHEMA}",
        **record,
        "title": "edgebrain prediction record",
        "allOf": [_conditional(status, rules) for status, rules in _RULES.items()],
        "$defs": definitions,
    }
    ordered: dict[str, Any] = _null_last(schema)
    return ordered


def _conditional(status: str, rules: dict[str, str]) -> dict[str, Any]:
    needed: dict[str, Any] = {name: {"type": kind} for name, kind in rules.items()}
    needed["probabilities"] = {"minProperties": 1} if status == "ok" else {"maxProperties": 0}
    return {
        "if": {"properties": {"status": {"const": status}}, "required": ["status"]},
        "then": {"properties": needed},
    }


def _null_last(node: Any) -> Any:
    """Put the null of every ``anyOf`` last; versions of msgspec differ in it, the published file must not."""
    if isinstance(node, list):
        return [_null_last(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: _null_last(item) for key, item in node.items()}
    if isinstance(out.get("anyOf"), list):
        out["anyOf"] = sorted(out["anyOf"], key=lambda option: option == {"type": "null"})
    return out
