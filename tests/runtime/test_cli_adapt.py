"""``edgebrain adapt``: the bundle that it writes works with the other commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from edgebrain.adapt.run import HEAD_FILE
from edgebrain.bundle import (
    MAX_TEXT_BYTES,
    Artifact,
    Bundle,
    HeadSpec,
    describe_file,
    files_of,
    open_bundle,
    write_manifest,
)
from edgebrain.cli import run
from edgebrain.engines import Engine, EngineOptions, open_engine
from edgebrain.errors import EXIT_INVALID, EXIT_OK, EXIT_USAGE
from edgebrain.heads import Head, write_head
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.selftest import Golden, read_golden, write_golden
from edgebrain.types import Precision

if TYPE_CHECKING:
    from collections.abc import Callable

cv2 = pytest.importorskip("cv2")
SIDE = 32


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Five phantoms each with a lesion at the edge and without."""
    for number, (label, lesion) in enumerate((("cyst", "edge"), ("none_here", "none"))):
        (tmp_path / "few" / label).mkdir(parents=True)
        for i in range(5):
            pixels = draw_phantom(PhantomSpec(seed=10 * number + i, lesion=lesion, side=64))
            assert cv2.imwrite(str(tmp_path / "few" / label / f"{i}.png"), pixels)
    return tmp_path / "few"


@pytest.fixture
def model(tmp_path: Path, write_bundle: Callable[..., Path], build_graph: Callable[..., bytes]) -> Path:
    """A small real bundle with golden outputs."""
    folder = write_bundle(tmp_path / "model", build_graph())
    images = np.zeros((2, 1, SIDE, SIDE), np.uint8)
    images[1, :, :16] = 200
    (folder / "golden.npz").write_bytes(write_golden(Golden(images, {"fp32": np.zeros((2, 4), np.float32)})))
    (folder / "MODEL_CARD.md").write_text("# tiny\n")
    manifest = open_bundle(folder).manifest
    write_manifest(folder, msgspec.structs.replace(manifest, golden=describe_file(folder / "golden.npz")))
    return folder


def test_the_adapted_bundle_works_with_the_same_commands(
    few: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "mine")
    assert run(["adapt", str(few), "-o", out, "--model", str(model), "--name", "cysts"]) == EXIT_OK
    assert "leave-one-out accuracy" in capsys.readouterr().out
    manifest = open_bundle(out).manifest
    assert (manifest.id, manifest.labels, manifest.heads) == ("cysts", ("cyst", "none_here"), ())
    assert manifest.provenance["support_scans"] == {"cyst": 5, "none_here": 5}
    assert manifest.decision.min_confidence == open_bundle(model).manifest.decision.min_confidence
    for command in (["models", "verify", out], ["models", "card", out], ["doctor", "--model", out]):
        assert run(command) == EXIT_OK
    capsys.readouterr()
    assert run(["classify", str(few / "cyst" / "0.png"), "--model", out, "--format", "jsonl"]) == EXIT_OK
    row = json.loads(capsys.readouterr().out)
    assert set(row["probabilities"]) == {"cyst", "none_here"}
    assert row["model"]["id"] == "cysts"


def test_the_shipped_model_adapts_to_a_whole_bundle(few: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    assert run(["adapt", str(few), "-o", str(out)]) == EXIT_OK
    adapted = open_bundle(out)
    named = [entry.file for entry in files_of(adapted.manifest) if adapted.read(entry)]
    assert sorted([*named, "manifest.json", "MODEL_CARD.md", "CHANGELOG.md"]) == sorted(p.name for p in out.iterdir())
    # It knows the labels of the shipped model alone.
    assert open_bundle("edge").manifest.second_reader is not None
    assert adapted.manifest.second_reader is None
    assert not [key for key in adapted.manifest.provenance if key.startswith("second_reader")]


def test_one_graph_that_runs_is_enough(
    few: Path, model: Path, build_graph: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = open_bundle(model).manifest
    kinds = {
        "broken.onnx": ("onnxruntime", Precision.INT8),
        "model.xml": ("later", Precision.FP32),
        "model.bin": ("onnxruntime", Precision.FP16),
        "other.onnx": ("tensorrt", Precision.FP16),
    }
    artifacts = list(manifest.artifacts)
    for name, (engine, precision) in kinds.items():
        (model / name).write_bytes(build_graph(input_name="other"))
        file = describe_file(model / name)
        artifacts.append(Artifact(name, engine, precision, file.sha256, file.bytes))
    write_manifest(model, msgspec.structs.replace(manifest, artifacts=tuple(artifacts)))
    opened: list[str] = []

    def opening(bundle: Bundle, artifact: Artifact, options: EngineOptions) -> Engine:
        opened.append(artifact.file)
        return open_engine(bundle, artifact, options)

    monkeypatch.setattr("edgebrain.adapt.write.open_engine", opening)
    monkeypatch.setattr("edgebrain.adapt.write.unavailable_because", lambda _record: None)
    out = tmp_path / "mine"
    words = ["--model", str(model), "--precision", "fp32", "--engine", "onnxruntime"]
    assert run(["adapt", str(few), "-o", str(out), *words]) == EXIT_OK
    assert opened == ["model.onnx", "broken.onnx"]
    assert set(read_golden(open_bundle(out)).logits) == {"fp32"}


@pytest.mark.parametrize("size", [0, MAX_TEXT_BYTES + 1], ids=["link", "large"])
def test_only_a_short_regular_changelog_is_copied(few: Path, model: Path, tmp_path: Path, size: int) -> None:
    text = tmp_path / "elsewhere.md"
    text.write_bytes(b"x" * size)
    if size:
        text.rename(model / "CHANGELOG.md")
    else:
        (model / "CHANGELOG.md").symlink_to(text)
    assert run(["adapt", str(few), "-o", str(tmp_path / "mine"), "--model", str(model)]) == EXIT_OK
    assert not (tmp_path / "mine" / "CHANGELOG.md").exists()


def test_no_file_is_named_in_the_bundle(
    few: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (few / "cyst" / "jane_doe.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = tmp_path / "mine"
    assert run(["adapt", str(few), "-o", str(out), "--model", str(model)]) == EXIT_OK
    assert "jane_doe" in capsys.readouterr().err
    for path in out.iterdir():
        assert b"jane_doe" not in path.read_bytes()
    assert "1 scan that could not be read" in (out / "MODEL_CARD.md").read_text()


def test_a_training_split_is_said(few: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, path in enumerate(sorted(few.rglob("*.png"))):
        split = few / ("Testing" if number % 5 == 0 else "Training") / path.parent.name
        split.mkdir(parents=True, exist_ok=True)
        path.rename(split / path.name)
    for label in ("cyst", "none_here"):
        (few / label).rmdir()
        for split in (few / "Testing", few / "Training"):
            (split / label).rename(split / {"cyst": "glioma", "none_here": "notumor"}[label])
    out = tmp_path / "mine"
    assert run(["adapt", str(few), "-o", str(out), "--model", str(model)]) == EXIT_OK
    assert "learning from 8 scans of 10: the split train alone\n" in capsys.readouterr().err
    assert open_bundle(out).manifest.provenance["support_scans"] == {"glioma": 4, "no_tumor": 4}


def test_a_changed_head_is_refused(few: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    assert run(["adapt", str(few), "-o", str(out), "--model", str(model)]) == EXIT_OK
    data = bytearray((out / HEAD_FILE).read_bytes())
    data[-200] ^= 1
    (out / HEAD_FILE).write_bytes(data)
    assert run(["models", "verify", str(out)]) == EXIT_INVALID
    assert run(["classify", str(few / "cyst" / "0.png"), "--model", str(out)]) == EXIT_INVALID


def test_what_is_there_is_replaced_only_by_force(few: Path, model: Path, tmp_path: Path) -> None:
    call = ["adapt", str(few), "-o", str(tmp_path / "mine"), "--model", str(model)]
    assert run(call) == EXIT_OK
    assert run(call) == EXIT_USAGE
    assert run([*call, "--force"]) == EXIT_OK
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    assert run(["adapt", str(few), "-o", str(tmp_path / "notes"), "--model", str(model), "--force"]) == EXIT_USAGE
    assert (tmp_path / "notes" / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize("place", ["few/mine", "few/cyst/deep/mine", "few/../few/mine", "link/mine"])
def test_nothing_is_written_among_the_scans(few: Path, model: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "link").symlink_to(few)
    before = sorted(few.rglob("*"))
    assert run(["adapt", str(few), "-o", str(tmp_path / place), "--model", str(model)]) == EXIT_USAGE
    assert sorted(few.rglob("*")) == before


def test_a_refused_support_writes_nothing(model: Path, few: Path, tmp_path: Path) -> None:
    for path in list((few / "cyst").iterdir())[1:]:
        path.unlink()
    assert run(["adapt", str(few), "-o", str(tmp_path / "mine"), "--model", str(model)]) == EXIT_USAGE
    assert not (tmp_path / "mine").exists()


def test_a_meta_learned_head_is_where_it_starts(few: Path, model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    head = Head(np.zeros(16), np.ones(16), rng.normal(size=(2, 16)), np.zeros(2))
    (model / "head.cyst.npz").write_bytes(write_head(head))
    file = describe_file(model / "head.cyst.npz")
    spec = HeadSpec("cyst", ("none_here", "cyst"), "none_here", 0.5, 3, file.file, file.sha256, file.bytes)
    write_manifest(model, msgspec.structs.replace(open_bundle(model).manifest, heads=(spec,)))
    out = tmp_path / "mine"
    assert run(["adapt", str(few), "-o", str(out), "--model", str(model), "--steps", "0"]) == EXIT_OK
    adapted = open_bundle(out).manifest
    assert adapted.labels == ("none_here", "cyst")
    assert adapted.negative_label == "none_here"
    with np.load(out / HEAD_FILE) as stored:
        assert np.array_equal(stored["weight"], head.weight)


@pytest.mark.parametrize("lr", ["0", "-1", "nan", "inf"])
def test_a_step_without_a_size_is_refused(few: Path, model: Path, tmp_path: Path, lr: str) -> None:
    assert run(["adapt", str(few), "-o", str(tmp_path / "m"), "--model", str(model), f"--lr={lr}"]) == EXIT_USAGE


@pytest.mark.parametrize("lr", ["1e5", "1e30", "1e39", "1e300", "1.7e308"])
@pytest.mark.filterwarnings("error")
def test_steps_that_do_not_converge_are_refused(
    few: Path, model: Path, tmp_path: Path, lr: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["adapt", str(few), "-o", str(tmp_path / "m"), "--model", str(model), "--lr", lr]) == EXIT_USAGE
    assert capsys.readouterr().err == "edgebrain: The steps do not converge. Lower --lr.\n"
    assert not (tmp_path / "m").exists()
