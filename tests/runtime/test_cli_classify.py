"""``edgebrain classify`` as people use it: real files, the shipped model, exit codes and rows."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import edgebrain
from edgebrain.cli.app import run
from edgebrain.phantom import SAMPLES, draw_phantom, sample_name

if TYPE_CHECKING:
    from collections.abc import Callable

    Classify = Callable[..., tuple[int, list[dict[str, Any]]]]

SCHEMA = Path(edgebrain.__file__).parent / "schemas" / "prediction.schema.json"


def test_folder_gives_a_valid_row_a_scan_in_order(scans: Path, tmp_path: Path, classify: Classify) -> None:
    code, rows = classify(scans, tmp_path / "out.jsonl")
    assert code == 0
    assert [row["path"] for row in rows] == [str(scans / sample_name(spec)) for spec in SAMPLES]
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for row in rows:
        jsonschema.validate(row, schema)
        assert row["engine"]["provider"] == "CPUExecutionProvider"
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_path_bytes_and_array_answer_alike(scans: Path) -> None:
    path = scans / sample_name(SAMPLES[2])
    classifier = edgebrain.Classifier.load("edge")
    answers = [
        classifier.classify(path).probabilities,
        classifier.classify(path.read_bytes()).probabilities,
        classifier.classify(draw_phantom(SAMPLES[2])).probabilities,
    ]
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_batch_size_does_not_change_answers(scans: Path, tmp_path: Path, classify: Classify, batch_size: int) -> None:
    _, first = classify(scans, tmp_path / "first.jsonl")
    _, other = classify(scans, tmp_path / "other.jsonl", "--batch-size", str(batch_size))
    for a, b in zip(first, other, strict=True):
        assert (a["label"], a["triage"]) == (b["label"], b["triage"])
        assert a["probabilities"] == pytest.approx(b["probabilities"], abs=2e-5)


def test_sorted_result_puts_the_urgent_first(scans: Path, tmp_path: Path, classify: Classify) -> None:
    code, rows = classify(scans, tmp_path / "out.jsonl", "--sort", "triage")
    assert code == 0
    order = ["prioritise", "cannot_assess", None, "standard"]
    places = [order.index(row["triage"]) for row in rows]
    assert places == sorted(places)
    assert {row["path"] for row in rows} == {str(p) for p in scans.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["classify"], 2),
        (["classify", "x.png", "--no-such-option"], 2),
        (["classify", "x.png", "--model", "no-such-model"], 2),
        (["classify", "x.png", "--engine", "no-such-engine"], 2),
        (["classify", "x.png", "--precision", "fp12"], 2),
        (["classify", "x.png", "--device", "cuda"], 3),
        (["classify", "x.png", "--precision", "fp16"], 3),
        (["classify", "x.png", "--resume"], 2),
        (["classify", "x.png", "--watch", "."], 2),
        (["classify", "x.png", "--threads", "0"], 2),
        (["classify", "x.png", "--threads", "65536"], 2),
        (["classify", "x.png"], 1),
        (["--version"], 0),
        (["classify", "--help"], 0),
    ],
)
def test_exit_codes(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture
def copied_bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    shutil.copytree(Path(edgebrain.__file__).parent / "bundles" / "edge", folder)
    for path in folder.iterdir():
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    return folder


def test_tampered_bundle_is_refused(copied_bundle: Path, scans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = copied_bundle / "model.int8.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(bytes(data))
    assert run(["classify", str(scans), "--model", str(copied_bundle), "--precision", "int8"]) == 4
    assert run(["models", "verify", str(copied_bundle)]) == 4
    assert "model.int8.onnx" in capsys.readouterr().err


def test_bundle_from_a_newer_schema_is_refused(
    copied_bundle: Path, scans: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = json.loads((copied_bundle / "manifest.json").read_text(encoding="utf-8"))
    manifest["schema_version"] = 99
    (copied_bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert run(["classify", str(scans), "--model", str(copied_bundle)]) == 4
    assert "Get a newer edgebrain from where this one came from" in capsys.readouterr().err
