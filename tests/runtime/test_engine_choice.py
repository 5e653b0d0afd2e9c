"""Which engine, device and precision is taken on which box, and what is said of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from edgebrain import device
from edgebrain.board import Board, read_board
from edgebrain.bundle import Artifact, Manifest
from edgebrain.device import Facts, Request, choose
from edgebrain.errors import EngineUnavailable, UsageError
from edgebrain.types import Precision


def artifact(file: str, engine: str, precision: str) -> Artifact:
    return Artifact(file, engine, Precision(precision), "0" * 64, 1)


FP32 = artifact("model.onnx", "onnxruntime", "fp32")
INT8 = artifact("model.int8.onnx", "onnxruntime", "int8")
REDUCED = artifact("model.int8.reduced.onnx", "onnxruntime", "int8")
IR = artifact("model.fp16.xml", "openvino", "fp16")
WEIGHTS = artifact("model.fp16.bin", "openvino", "fp16")
TRT16 = artifact("model.trt.fp16.onnx", "tensorrt", "fp16")
TRT8 = artifact("model.trt.int8.onnx", "tensorrt", "int8")
ALL = (FP32, INT8, REDUCED, IR, WEIGHTS, TRT16, TRT8)
LAYOUTS = {REDUCED.file: "u8s8-reduced", INT8.file: "u8s8"}

NONE_OF_THEM = {"openvino": "it is not installed", "tensorrt": "it is not installed"}
OLD_PC = Facts("x86_64", "A CPU", 4, frozenset(), 1 << 34, "", NONE_OF_THEM)
PC = replace(OLD_PC, int8_flags=frozenset({"avx_vnni"}), unavailable={"tensorrt": "it is not installed"})
SERVER = replace(PC, fp16_flags=frozenset({"avx512_fp16"}))
ORIN = Board("NVIDIA Jetson AGX Orin", "36.4.0", "integrated GPU of the Jetson", dla=True)
JETSON = Facts("aarch64", "", 8, frozenset({"asimddp"}), 1 << 34, ORIN.name, {}, accelerators=ORIN, tensorrt="10.3.0")


@pytest.fixture(autouse=True)
def layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layouts by file name, as manifests give them."""
    monkeypatch.setattr(device, "layout_of", lambda one: LAYOUTS.get(one.file))


@pytest.fixture
def manifest(make_manifest: Callable[..., Manifest]) -> Manifest:
    return make_manifest(artifacts=ALL)


@pytest.mark.parametrize(
    ("facts", "request_", "expected", "way"),
    [
        (PC, Request(), INT8, ("onnxruntime", "cpu", "avx_vnni")),
        (OLD_PC, Request(), REDUCED, ("onnxruntime", "cpu", "does not saturate")),
        (PC, Request(engine="openvino"), INT8, ("openvino", "cpu", "avx_vnni")),
        (PC, Request(engine="openvino", precision=Precision.FP16), IR, ("openvino", "cpu", "asked for")),
        (JETSON, Request(), TRT8, ("tensorrt", "cuda", "fastest file")),
        (JETSON, Request(precision=Precision.FP16), TRT16, ("tensorrt", "cuda", "asked for")),
        (JETSON, Request(engine="tensorrt", precision=Precision.FP32), FP32, ("tensorrt", "cuda", "asked for")),
        (JETSON, Request(device="dla"), TRT16, ("tensorrt", "dla", "fastest file")),
        (JETSON, Request(device="cpu"), INT8, ("onnxruntime", "cpu", "asimddp")),
        (JETSON, Request(engine="onnxruntime", device="cuda"), FP32, ("onnxruntime", "cuda", "first choice")),
        (replace(JETSON, unavailable=NONE_OF_THEM), Request(), INT8, ("onnxruntime", "cpu", "asimddp")),
        (replace(JETSON, accelerators=Board()), Request(), INT8, ("onnxruntime", "cpu", "asimddp")),
    ],
)
def test_the_choice(
    facts: Facts, request_: Request, expected: Artifact, way: tuple[str, str, str], manifest: Manifest
) -> None:
    engine, target, reason = way
    choice = choose(facts, request_, manifest)
    assert (choice.artifact.file, choice.engine, choice.device) == (expected.file, engine, target)
    assert reason in choice.reasons[0]
    assert choice.precision is None


def test_fp16_comes_before_fp32_only_where_the_processor_computes_in_it(
    make_manifest: Callable[..., Manifest],
) -> None:
    floats = make_manifest(artifacts=(FP32, IR, WEIGHTS))
    assert choose(PC, Request(), floats).artifact is FP32
    assert choose(SERVER, Request(), floats).artifact is IR


@pytest.mark.parametrize("order", [1, -1])
def test_an_engine_asked_for_by_name_takes_the_file_that_was_made_for_it(
    make_manifest: Callable[..., Manifest], order: int
) -> None:
    own = artifact("model.ov.int8.xml", "openvino", "int8")
    made = make_manifest(artifacts=(FP32, INT8, own)[::order])
    choice = choose(PC, Request(engine="openvino"), made)
    assert choice.artifact is own
    assert "model.int8.onnx with openvino: usable, but model.ov.int8.xml was made for openvino" in choice.rejected
    assert choose(PC, Request(), made).artifact is INT8  # unasked, the engine comes first
    assert choose(PC, Request(engine="openvino", precision=Precision.FP32), made).artifact is FP32


def test_weights_are_no_model(manifest: Manifest) -> None:
    assert not any(WEIGHTS.file in text for text in choose(PC, Request(), manifest).rejected)


def test_a_gpu_alone_builds_nothing(make_manifest: Callable[..., Manifest]) -> None:
    choice = choose(JETSON, Request(), make_manifest(artifacts=(FP32, INT8)))
    assert (choice.artifact, choice.engine) == (INT8, "onnxruntime")
    assert "model.onnx with tensorrt: usable by name" in " ".join(choice.rejected)


def test_fp16_of_a_file_in_fp32_needs_hardware_for_it(make_manifest: Callable[..., Manifest]) -> None:
    plain = make_manifest(artifacts=(FP32, INT8))
    wanted = Request(engine="openvino", precision=Precision.FP16)
    choice = choose(SERVER, wanted, plain)
    assert (choice.artifact, choice.engine, choice.precision) == (FP32, "openvino", Precision.FP16)
    with pytest.raises(EngineUnavailable, match="no 16-bit floating-point arithmetic"):
        choose(PC, wanted, plain)
    with pytest.raises(EngineUnavailable, match="fp16 was asked for"):
        choose(SERVER, Request(precision=Precision.FP16), plain)


def test_an_engine_asked_for_by_name_and_missing_is_one_line(manifest: Manifest) -> None:
    with pytest.raises(EngineUnavailable, match="The engine tensorrt cannot be used: it is not installed") as caught:
        choose(PC, Request(engine="tensorrt"), manifest)
    assert "On the device, run: edgebrain doctor --engine tensorrt" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (replace(JETSON, accelerators=replace(ORIN, dla=False)), "no DLA that edgebrain knows of"),
        (replace(JETSON, tensorrt="10.16.2.10"), r"TensorRT 10\.16\.2\.10 has no DLA"),
    ],
)
def test_a_dla_that_is_not_there(facts: Facts, words: str, manifest: Manifest) -> None:
    with pytest.raises(EngineUnavailable, match=words):
        choose(facts, Request(engine="tensorrt", device="dla"), manifest)


def test_files_for_cpus_in_int8_are_not_for_gpus(make_manifest: Callable[..., Manifest]) -> None:
    only = make_manifest(artifacts=(INT8,))
    with pytest.raises(EngineUnavailable, match="made for CPUs"):
        choose(JETSON, Request(engine="tensorrt"), only)
    with pytest.raises(EngineUnavailable, match="made for CPUs, not for cuda"):
        choose(JETSON, Request(engine="onnxruntime", device="cuda"), only)


# The board


def test_a_jetson(tmp_path: Path) -> None:
    write(tmp_path / "proc/device-tree/model", "NVIDIA Jetson Orin NX Engineering Reference\0")
    write(tmp_path / "etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n")
    board = read_board(tmp_path)
    assert (board.l4t, board.dla, board.gpu) == ("36.4.3", True, "integrated GPU of the Jetson")
    write(tmp_path / "proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0")
    assert not read_board(tmp_path).dla


def test_a_pc_with_a_card_and_one_without(tmp_path: Path) -> None:
    assert read_board(tmp_path) == Board()
    write(tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t NVIDIA RTX A2000\nIRQ: 5\n")
    assert read_board(tmp_path) == Board(gpu="NVIDIA RTX A2000")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("facts", [PC, OLD_PC])
@pytest.mark.parametrize(("layout", "expected"), [("u8s8", INT8), ("u8s8-reduced", REDUCED)])
def test_either_file_of_one_precision_can_be_had_by_the_name_of_its_layout(
    manifest: Manifest, facts: Facts, layout: str, expected: Artifact
) -> None:
    choice = choose(facts, device.request_of(None, layout, None, None), manifest)
    assert choice.artifact == expected
    assert choice.reasons[0] == "int8: asked for"
    assert any(one.endswith(f": {layout} was asked for") for one in choice.rejected)


@pytest.mark.parametrize(("facts", "taken", "left"), [(PC, INT8, REDUCED), (OLD_PC, REDUCED, INT8)])
@pytest.mark.parametrize("precision", [None, "int8"])
def test_without_a_layout_the_processor_decides_and_the_other_one_is_named(
    manifest: Manifest, facts: Facts, taken: Artifact, left: Artifact, precision: str | None
) -> None:
    choice = choose(facts, device.request_of(None, precision, None, None), manifest)
    assert choice.artifact == taken
    reason = next(one for one in choice.rejected if one.startswith(f"{left.file} with onnxruntime"))
    assert reason.endswith(f"--precision {LAYOUTS[left.file]} takes it")


def test_a_layout_that_the_model_has_not_is_refused_with_those_that_it_has(manifest: Manifest) -> None:
    with pytest.raises(UsageError, match=r"no precision 's8s8'.* Known: fp32, fp16, int8, u8s8, u8s8-reduced"):
        choose(PC, device.request_of(None, "s8s8", None, None), manifest)


def test_files_are_called_by_their_layout_only_where_the_precision_does_not_tell_them_apart(manifest: Manifest) -> None:
    kinds = {one.file: device.kind_of(one, manifest) for one in ALL}
    assert (kinds[FP32.file], kinds[INT8.file], kinds[REDUCED.file]) == ("fp32", "u8s8", "u8s8-reduced")
    assert kinds[TRT8.file] == "int8"
    assert device.kind_of(INT8, replace_artifacts(manifest, FP32, INT8)) == "int8"


def replace_artifacts(manifest: Manifest, *artifacts: Artifact) -> Manifest:
    return msgspec.structs.replace(manifest, artifacts=artifacts)
