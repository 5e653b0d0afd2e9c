"""``edgebrain models``, ``doctor``, ``phantom`` and the numeric self-test."""

from __future__ import annotations

import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import edgebrain
from edgebrain import bundle as bundles
from edgebrain.bundle import open_bundle
from edgebrain.cli.app import run
from edgebrain.device import Request
from edgebrain.doctor import diagnose
from edgebrain.errors import EngineFailed, InvalidManifest
from edgebrain.manifest import manifest_tree, migrate, parse_manifest
from edgebrain.phantom import SAMPLES, sample_name
from edgebrain.selftest import Golden, read_golden, self_test, write_golden

if TYPE_CHECKING:
    from edgebrain.engines import EngineInfo
    from edgebrain.types import Float32, Image8

EDGE = Path(edgebrain.__file__).parent / "bundles" / "edge"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EDGE, tmp_path / "bundle"))


def replace_golden(folder: Path, content: bytes) -> None:
    """Put another golden file into a bundle, with the manifest saying so."""
    (folder / "golden.npz").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    hashed = bundles.describe_file(folder / "golden.npz")
    manifest["golden"] = {"file": hashed.file, "sha256": hashed.sha256, "bytes": hashed.bytes}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_models_list_names_every_built_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list"]) == 0
    assert "edge" in capsys.readouterr().out


def test_models_show_prints_the_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "show", "edge"]) == 0
    shown = json.loads(capsys.readouterr().out)
    stored = json.loads((EDGE / "manifest.json").read_text(encoding="utf-8"))
    read = manifest_tree(parse_manifest(migrate(stored, EDGE), EDGE))
    assert shown == json.loads(json.dumps(read))
    assert shown["metrics"] == stored["metrics"]


def test_models_verify_checks_every_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "verify", "edge"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("model.onnx", "model.int8.onnx", "golden.npz"))


def test_models_card_prints_the_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "card", "edge"]) == 0
    assert "Not a medical device" in capsys.readouterr().out


def test_missing_card_is_one_error(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "MODEL_CARD.md").unlink()
    assert run(["models", "card", str(copied)]) == 4
    assert "MODEL_CARD.md" in capsys.readouterr().err


def test_doctor_passes_here_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    diagnosis = json.loads(capsys.readouterr().out)
    assert diagnosis["healthy"]
    assert diagnosis["choice"]["reasons"]
    second = open_bundle("edge").manifest.second_reader
    assert second is not None
    assert {trial["file"] for trial in diagnosis["trials"]} == {"model.onnx", "model.int8.onnx", second.artifact.file}
    assert all(trial["test"]["labels_agree"] for trial in diagnosis["trials"])


def test_doctor_prints_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    assert "passed" in capsys.readouterr().out


def test_doctor_fails_on_other_numbers(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = read_golden(open_bundle(copied))
    shifted = {precision: np.roll(logits, 1, axis=1) for precision, logits in golden.logits.items()}
    replace_golden(copied, write_golden(replace(golden, logits=shifted)))
    assert run(["doctor", "--model", str(copied)]) == 4
    assert "FAILED" in capsys.readouterr().out


def test_doctor_fails_on_other_outlier_scores(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = read_golden(open_bundle(copied))
    other = {precision: logits + np.float32(20) for precision, logits in golden.outlier.items()}
    replace_golden(copied, write_golden(replace(golden, outlier=other)))
    assert run(["doctor", "--model", str(copied)]) == 4
    assert "FAILED" in capsys.readouterr().out


def test_a_limit_needs_golden_outlier_scores(copied: Path) -> None:
    golden = read_golden(open_bundle(copied))
    replace_golden(copied, write_golden(replace(golden, outlier={})))
    assert run(["doctor", "--model", str(copied)]) == 4


def test_doctor_does_not_advise_the_file_that_failed(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = read_golden(open_bundle(copied))
    wrong = {"fp32": np.roll(golden.logits["fp32"], 1, axis=1), "int8": golden.logits["int8"]}
    replace_golden(copied, write_golden(replace(golden, logits=wrong)))
    assert run(["doctor", "--model", str(copied), "--precision", "fp32"]) == 4
    out = " ".join(capsys.readouterr().out.split())
    assert "does not compute what its maker computed: do not use this model on this machine." in out
    assert "--precision fp32" not in out
    wrong = {"fp32": golden.logits["fp32"], "int8": np.roll(golden.logits["int8"], 1, axis=1)}
    replace_golden(copied, write_golden(replace(golden, logits=wrong)))
    assert run(["doctor", "--model", str(copied), "--precision", "int8"]) == 4
    assert "maker computed: use --precision fp32." in " ".join(capsys.readouterr().out.split())


def golden_bytes(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy's own option is not among ours
    return buffer.getvalue()


def npy_bytes() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


IMAGES = np.zeros((2, 1, 160, 160), np.uint8)
LOGITS = np.zeros((2, 4), np.float32)
WRONG = {
    "empty": b"",
    "one array": npy_bytes(),
    "pickle": b"\x80\x04N.",
    "cut short": golden_bytes(images=IMAGES, logits_fp32=LOGITS)[:-40],
    "no images": golden_bytes(logits_fp32=LOGITS),
    "zero images": golden_bytes(images=IMAGES[:0], logits_fp32=LOGITS[:0]),
    "images of another type": golden_bytes(images=IMAGES.astype(np.float32), logits_fp32=LOGITS),
    "images of another size": golden_bytes(images=IMAGES[..., :99], logits_fp32=LOGITS),
    "a number": golden_bytes(images=np.uint8(1), logits_fp32=LOGITS),
    "three labels": golden_bytes(images=IMAGES, logits_fp32=LOGITS[:, :3]),
    "one row": golden_bytes(images=IMAGES, logits_fp32=LOGITS[:1]),
    "doubles": golden_bytes(images=IMAGES, logits_fp32=LOGITS.astype(np.float64)),
    "not finite": golden_bytes(images=IMAGES, logits_fp32=np.full_like(LOGITS, np.nan)),
    "unknown array": golden_bytes(images=IMAGES, answers=LOGITS),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_golden_files_are_not_tested_and_say_why(
    copied: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    replace_golden(copied, WRONG[name])
    with pytest.raises(InvalidManifest, match=r"golden\.npz holds no golden outputs: .+"):
        read_golden(open_bundle(copied))
    assert run(["doctor", "--model", str(copied)]) == 4
    out = " ".join(capsys.readouterr().out.split())
    assert "not tested: " in out
    assert "was not tested: " in out
    assert "maker computed" not in out


def test_names_in_a_bundle_are_no_markup(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((copied / "manifest.json").read_text(encoding="utf-8"))
    first, second = manifest["artifacts"]
    (copied / first["file"]).rename(copied / "m[red].onnx")
    first["file"] = "m[red].onnx"
    second["engine"] = "later[/b]"
    (copied / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert run(["doctor", "--model", str(copied)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "m[red].onnx" in out
    assert "later[/b]" in out
    assert "this edgebrain has no such engine" in out


def test_a_narrow_terminal_still_shows_the_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "8")
    assert run(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("edge", "160x160", "no_tumor"))
    assert max(map(len, out.splitlines())) <= 60
    assert run(["doctor"]) == 0
    assert "model.int8.onnx" in capsys.readouterr().out


def test_a_card_cannot_steer_the_terminal_or_block(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = copied / "MODEL_CARD.md"
    card.write_bytes(b"# Card \x1b]0;title\x07 \xff\n")
    assert run(["models", "card", str(copied)]) == 0
    assert capsys.readouterr().out == "# Card \\x1b]0;title\\x07 \ufffd\n"
    card.unlink()
    os.mkfifo(card)
    assert run(["models", "card", str(copied)]) == 4
    assert "MODEL_CARD.md is not a regular file" in capsys.readouterr().err


def test_doctor_names_a_broken_file(copied: Path) -> None:
    (copied / "model.onnx").write_bytes(b"not a graph")
    diagnosis = diagnose(open_bundle(copied), Request())
    problems = {trial.file: trial.problem for trial in diagnosis.trials}
    assert problems["model.int8.onnx"] is None
    assert problems["model.onnx"] is not None
    assert "model.onnx" in problems["model.onnx"]


def test_golden_file_round_trip_and_refusal(copied: Path) -> None:
    golden = read_golden(open_bundle(copied))
    assert golden.images.dtype == np.uint8
    assert len(golden.images) == len(SAMPLES)
    replace_golden(copied, b"PK\x03\x04 nothing")
    with pytest.raises(InvalidManifest, match="golden"):
        read_golden(open_bundle(copied))


class _Shifted:
    """An engine that is off by a constant on one logit."""

    def __init__(self, info: EngineInfo, golden: Golden, shift: float) -> None:
        self.info = info
        rows = zip(golden.images, golden.logits["int8"], golden.outlier["int8"], strict=True)
        self._answers = {image.tobytes(): (logits, outlier) for image, logits, outlier in rows}
        self._shift = shift

    def run(self, images: Image8) -> dict[str, Float32]:
        answers = [self._answers[image.tobytes()] for image in images]
        logits = np.stack([row for row, _ in answers])
        logits[:, 0] += self._shift
        return {"logits": logits, "outlier": np.array([outlier for _, outlier in answers], np.float32)}

    def close(self) -> None:
        """Nothing to give back."""


@pytest.mark.parametrize(("shift", "passed"), [(0.0, True), (0.01, True), (3.0, False)])
def test_self_test_measures_the_difference(shift: float, passed: bool) -> None:
    bundle = open_bundle("edge")
    info = edgebrain.Classifier.load("edge", precision="int8").engine.info
    result = self_test(bundle, _Shifted(info, read_golden(bundle), shift))
    assert result.passed is passed


def test_another_number_of_logits_is_an_engine_failure() -> None:
    bundle = open_bundle("edge")
    info = edgebrain.Classifier.load("edge", precision="int8").engine.info
    golden = read_golden(bundle)
    wrong = replace(golden, logits={"int8": golden.logits["int8"][:, :3]})
    with pytest.raises(EngineFailed, match="logits"):
        self_test(bundle, _Shifted(info, wrong, 0.0))


def test_phantom_draws_named_drawings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["phantom", str(tmp_path / "samples"), "--count", "8"]) == 0
    drawn = sorted(p.name for p in (tmp_path / "samples").iterdir())
    assert len(drawn) == 8
    assert {sample_name(spec) for spec in SAMPLES} <= set(drawn)
    assert len(capsys.readouterr().out.splitlines()) == 8


def test_phantom_into_a_file_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("x", encoding="utf-8")
    assert run(["phantom", str(tmp_path / "taken")]) == 2
    assert "taken" in capsys.readouterr().err
