from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebrain.errors import EdgebrainError, UsageError
from edgebrain.results.records import from_json, json_schema, reading_order, to_dict, to_json
from edgebrain.types import (
    EngineRef,
    ErrorRef,
    InputRef,
    Intensity,
    ModelRef,
    Prediction,
    Timing,
    Triage,
)

ROOT = Path(__file__).resolve().parents[2]
KEYS = [
    "schema",
    "path",
    "frame",
    "status",
    "label",
    "probabilities",
    "tumor_probability",
    "outlier_score",
    "triage",
    "reasons",
    "model",
    "engine",
    "input",
    "timing_ms",
    "warnings",
    "error",
]
OK = Prediction(
    path="a/b.png",
    frame=2,
    status="ok",
    label="glioma",
    probabilities={"glioma": 0.7, "meningioma": 0.2, "no_tumor": 0.1},
    tumor_probability=0.9,
    triage=Triage.PRIORITISE,
    reasons=("the tumour probability is over the operating point",),
    model=ModelRef("edge", "1.0.0", "int8", "a" * 64),
    engine=EngineRef("ort", "CPUExecutionProvider", 2),
    input=InputRef("b" * 64, "tiff", 512, 400, Intensity("percentile", -12.5, 4000.25)),
    timing_ms=Timing(1.25, 0.5, 2.0, 3.75),
    warnings=("the picture is small",),
)
FAILED = Prediction(path="c.png", frame=0, status="error", error=ErrorRef("unreadable_scan", "c.png is cut short."))

# Every name that a POSIX file system can hold, as Python decodes it.
file_names = st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw).map(os.fsdecode)


@st.composite
def answers(draw: st.DrawFn) -> Prediction:
    labels = draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=60, unique=True))
    weights = np.array(draw(st.lists(st.floats(1e-6, 1.0), min_size=len(labels), max_size=len(labels))))
    shares = weights / weights.sum()
    return replace(
        OK,
        path=draw(file_names),
        frame=draw(st.integers(0, 10_000)),
        label=labels[int(shares.argmax())],
        probabilities=dict(zip(labels, shares.tolist(), strict=True)),
        tumor_probability=draw(st.none() | st.floats(0, 1)),
        outlier_score=draw(st.none() | st.floats(0, 1)),
        triage=draw(st.sampled_from(Triage)),
        reasons=tuple(draw(st.lists(st.text(), max_size=3))),
        timing_ms=Timing(*draw(st.tuples(*[st.floats(0, 1e9)] * 4))),
    )


@given(answers())
def test_what_is_written_reads_back_and_is_valid(prediction: Prediction) -> None:
    line = to_json(prediction)
    back = from_json(line)
    assert to_json(back) == line
    assert (back.path, back.frame, back.label, back.reasons) == (
        prediction.path,
        prediction.frame,
        prediction.label,
        prediction.reasons,
    )
    assert back.probabilities == pytest.approx(prediction.probabilities, abs=6.1e-5)
    assert abs(sum(back.probabilities.values()) - 1) <= 1e-5
    jsonschema.validate(json.loads(line), json_schema())


@given(file_names)
def test_a_line_is_printable_ascii_whatever_the_name(name: str) -> None:
    line = to_json(replace(FAILED, path=name))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["path"] == name


@pytest.mark.parametrize("prediction", [OK, FAILED, replace(FAILED, model=OK.model, engine=OK.engine, input=OK.input)])
def test_every_key_is_there_in_the_documented_order(prediction: Prediction) -> None:
    assert list(to_dict(prediction)) == KEYS
    assert list(json_schema()["properties"]) == KEYS
    assert from_json(to_json(prediction)) == prediction


def test_numpy_numbers_are_written_as_numbers() -> None:
    odd: Any = replace(
        OK,
        frame=np.int64(2),
        probabilities={"glioma": np.float32(0.25), "no_tumor": np.float32(0.75)},
        timing_ms=Timing(total=np.float32(1.5)),
    )
    assert json.loads(to_json(odd))["probabilities"] == {"glioma": 0.25, "no_tumor": 0.75}


def test_probabilities_of_many_labels_still_sum_to_one() -> None:
    many = {str(k): 1 / 300 for k in range(300)}  # plain rounding would be 0.0001 short
    written = to_dict(replace(OK, probabilities=many, label="0"))["probabilities"]
    assert sum(written.values()) == pytest.approx(1, abs=1e-5)


def test_probabilities_that_do_not_sum_to_one_are_not_made_to() -> None:
    wrong = to_json(replace(OK, probabilities={"glioma": 0.5, "no_tumor": 0.4}))
    with pytest.raises(UsageError, match=r"sum to 0\.9"):
        from_json(wrong)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_cannot_say_are_never_written(number: float) -> None:
    for broken in (
        replace(OK, tumor_probability=number),
        replace(OK, outlier_score=number),
        replace(OK, probabilities={"glioma": number, "no_tumor": 0.0}),
        replace(OK, timing_ms=Timing(total=number)),
        replace(OK, input=InputRef("b" * 64, "png", 1, 1, Intensity("percentile", number, 1.0))),
    ):
        with pytest.raises(EdgebrainError, match=r"a/b\.png holds a number that is not finite"):
            to_json(broken)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("path", None, "path"),
        ("frame", -1, "frame"),
        ("frame", True, "frame"),
        ("status", "fine", "status"),
        ("status", "\udcff", "not a prediction record"),
        ("label", None, "label must not be null"),
        ("label", "cat", "label 'cat' has no probability"),
        ("probabilities", {"glioma": 1.5}, "probabilities"),
        ("probabilities", {}, "must not be empty"),
        ("outlier_score", 1.5, "outlier_score"),
        ("triage", "normal", "triage"),
        ("error", {"code": "x", "message": "y"}, "error must be null"),
        ("schema", 2, "version 2"),
        ("schema", 0, "schema"),
        ("extra", 1, "extra"),
        ("timing_ms", {"read": 1, "preprocess": 1, "infer": 1, "total": -1}, "timing_ms.total"),
        ("model", {"id": "edge", "version": "1", "precision": "int8", "sha256": "xyz"}, "model.sha256"),
    ],
)
def test_a_wrong_field_is_named(key: str, value: object, message: str) -> None:
    record = to_dict(OK) | {key: value}
    with pytest.raises(UsageError, match=re.escape(message)):
        from_json(json.dumps(record))


@pytest.mark.parametrize("prediction", [OK, FAILED])
def test_a_record_from_before_the_outlier_score_is_read(prediction: Prediction) -> None:
    record = to_dict(prediction)
    assert record.pop("outlier_score") is None
    assert from_json(json.dumps(record)) == prediction
    jsonschema.validate(record, json_schema())


def test_an_error_has_no_outlier_score() -> None:
    with pytest.raises(UsageError, match="outlier_score must be null"):
        from_json(json.dumps(to_dict(FAILED) | {"outlier_score": 0.5}))


@pytest.mark.parametrize("key", [key for key in KEYS if key != "outlier_score"])
def test_a_missing_field_is_named(key: str) -> None:
    record = to_dict(OK)
    del record[key]
    with pytest.raises(UsageError, match=key):
        from_json(json.dumps(record))


@pytest.mark.parametrize(
    "line", ["", "{", "null", "[]", "3", b"\xff\xfe", "[" * 100_000, '{"frame": NaN}', '{"frame": 1e999}', "9" * 5000]
)
def test_what_is_no_record_is_refused(line: str | bytes) -> None:
    with pytest.raises(UsageError, match="not a prediction record"):
        from_json(line)


_json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: not x.is_integer())
    | st.text()
    | st.sampled_from(["ok", "error", "standard", "native", "a" * 64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300)
@given(st.data())
def test_reading_and_the_published_schema_agree(data: st.DataObject) -> None:
    record = copy.deepcopy(to_dict(data.draw(st.sampled_from([OK, FAILED]))))
    place, key = record, data.draw(st.sampled_from(KEYS))
    while isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place)))
    if data.draw(st.booleans()):
        place[key] = data.draw(_json_values)
    else:
        del place[key]
    valid = jsonschema.Draft202012Validator(json_schema()).is_valid(record)
    try:
        from_json(json.dumps(record))
        refused = ""
    except UsageError as exc:
        refused = exc.message
    # Two things no JSON schema can say: what probabilities add up to, and that the label is one of them.
    beyond = "probabilities sum to" in refused or "has no probability" in refused
    assert valid == (not refused or beyond)


def test_the_committed_schema_is_the_generated_one() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "edgebrain.results.records"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / "edgebrain" / "schemas" / "prediction.schema.json").read_text() == made.stdout
    jsonschema.Draft202012Validator.check_schema(json.loads(made.stdout))


def test_writing_does_not_load_the_reader_of_records() -> None:
    code = "import sys, edgebrain.results.writers; print('msgspec' in sys.modules, 'rich' in sys.modules)"
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert made.stdout.split() == ["False", "False"]


def test_every_field_is_documented() -> None:
    text = (ROOT / "docs" / "reference" / "records.md").read_text()
    schema = json_schema()
    names = set(schema["properties"])
    for part in schema["$defs"].values():
        names |= set(part["properties"])
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_reading_order_puts_nothing_that_needs_a_person_last() -> None:
    order = [
        ("ok", Triage.PRIORITISE, None),
        ("ok", Triage.PRIORITISE, 0.9),
        ("ok", Triage.PRIORITISE, 0.2),
        ("ok", Triage.CANNOT_ASSESS, 0.99),
        ("error", None, None),
        ("ok", Triage.STANDARD, None),
        ("ok", Triage.STANDARD, 0.4),
        ("ok", Triage.STANDARD, 0.0),
    ]
    places = [reading_order(*record) for record in order]
    assert places == sorted(places)
    assert reading_order("ok", Triage.CANNOT_ASSESS, 0.1) == reading_order("ok", Triage.CANNOT_ASSESS, None)
