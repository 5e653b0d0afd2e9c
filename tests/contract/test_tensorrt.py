"""Building, keeping and refusing TensorRT engines; a fake TensorRT says what the real one would."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebrain.bundle import Artifact, Bundle, open_bundle
from edgebrain.caches import private_folder
from edgebrain.engines import EngineOptions, open_engine
from edgebrain.engines.trt import TrtEngine
from edgebrain.engines.trt_rules import dla_refusal, meaning_of, types_weakly, version_of
from edgebrain.errors import EdgebrainError, EngineFailed, EngineUnavailable
from edgebrain.types import Precision

CUDA = EngineOptions(device="cuda")
DLA = EngineOptions(device="dla")
IMAGES = np.random.default_rng(4).integers(0, 256, (3, 1, 32, 32), dtype=np.uint8)


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test."""
    monkeypatch.setenv("EDGEBRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bundle(tiny_bundle: Path, tiny_graph: bytes) -> Bundle:
    """The small bundle with two files for TensorRT; the fake does not mind that they hold the fp32 graph."""
    opened = open_bundle(tiny_bundle)
    digest = hashlib.sha256(tiny_graph).hexdigest()
    files = []
    for precision in (Precision.FP16, Precision.INT8):
        name = f"model.trt.{precision.value}.onnx"
        (tiny_bundle / name).write_bytes(tiny_graph)
        files.append(Artifact(name, "tensorrt", precision, digest, len(tiny_graph)))
    full = opened.manifest.artifacts[0]
    return Bundle(tiny_bundle, _with_artifacts(opened, (full, *files)))


def _with_artifacts(bundle: Bundle, artifacts: tuple[Artifact, ...]) -> Any:
    from msgspec.structs import replace as changed

    return changed(bundle.manifest, artifacts=artifacts)


def opened(bundle: Bundle, precision: Precision = Precision.FP16, options: EngineOptions = CUDA) -> TrtEngine:
    artifact = next(a for a in bundle.manifest.artifacts[::-1] if a.precision is precision)
    return TrtEngine(bundle, artifact, options)


def builds(script: Any) -> list[str]:
    return [call for call in script.calls if call.startswith("build")]


def test_it_is_built_once_and_kept(bundle: Bundle, script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first = opened(bundle).run(IMAGES)["logits"]
    said = capsys.readouterr().err
    assert "Building a TensorRT engine of model.trt.fp16.onnx: none was built for this model yet" in said
    assert "built in 0 s" in said
    again = opened(bundle)
    assert (again.run(IMAGES)["logits"] == first).all()
    assert builds(script) == ["build strong"]
    assert capsys.readouterr().err == ""
    assert again.building["route"] == "strong"
    assert (again.info.provider, again.info.version, again.info.precision) == ("Orin", "10.3.0", "fp16")


def test_large_batches_run_in_parts(bundle: Bundle, script: Any) -> None:
    images = np.random.default_rng(5).integers(0, 256, (70, 1, 32, 32), dtype=np.uint8)
    engine = opened(bundle)
    together = engine.run(images)
    assert together["logits"].shape == (70, 4)
    assert together["logits"][64:] == pytest.approx(engine.run(images[64:])["logits"], abs=1e-5)
    assert builds(script) == ["build strong"]


@pytest.mark.parametrize("version", ["10.3.0", "10.13.3.9", "10.16.1.11", "11.4.0.106"])
def test_every_version_takes_the_strongly_typed_way(
    bundle: Bundle, script: Any, reload_tensorrt: Callable[[str], None], version: str
) -> None:
    reload_tensorrt(version)
    assert opened(bundle, Precision.INT8).run(IMAGES)["logits"].shape == (3, 4)
    assert builds(script) == ["build strong"]
    assert [call for call in script.calls if call.startswith(("set", "clear"))] == ["clear TF32"]


@pytest.mark.parametrize(
    ("precision", "set_flags"),
    [(Precision.FP32, []), (Precision.FP16, ["set FP16"]), (Precision.INT8, ["set FP16", "set INT8"])],
)
def test_on_10_the_weakly_typed_way_is_the_second(
    bundle: Bundle, script: Any, precision: Precision, set_flags: list[str]
) -> None:
    script.strong = False
    engine = opened(bundle, precision)
    assert builds(script) == ["build strong", "build weak"]
    assert [call for call in script.calls if call.startswith("set")] == set_flags
    assert engine.building["route"] == "weak"
    (record,) = private_folder("tensorrt").glob("*.json")
    assert json.loads(record.read_text(encoding="utf-8"))["building"]["route"] == "weak"


def test_on_11_there_is_no_second_way(bundle: Bundle, script: Any, reload_tensorrt: Callable[[str], None]) -> None:
    script.strong = False
    reload_tensorrt("11.4.0.106")
    with pytest.raises(EngineFailed, match="builds no engine of model") as caught:
        opened(bundle)
    assert script.says in str(caught.value)
    assert builds(script) == ["build strong"]


@pytest.mark.parametrize("version", ["10.16.2.10", "11.4.0"])
def test_after_an_upgrade_it_is_built_again_and_says_why(
    bundle: Bundle,
    script: Any,
    reload_tensorrt: Callable[[str], None],
    version: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    opened(bundle)
    reload_tensorrt(version)
    opened(bundle)
    assert builds(script) == ["build strong"] * 2
    assert f"the engine that was built before has tensorrt '10.3.0', this is '{version}'" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "value"), [(75, 9), (16, 8), (38, 1), (32, 1)])
def test_an_engine_of_another_gpu_is_not_used(bundle: Bundle, script: Any, cudart: Any, code: int, value: int) -> None:
    opened(bundle)
    cudart.attributes[code] = value
    opened(bundle)
    assert builds(script) == ["build strong"] * 2


def damage(change: str, path: Path) -> None:
    sidecar = path.with_suffix(".json")
    if change == "engine":
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    elif change == "no sidecar":
        sidecar.unlink()
    elif change == "half a sidecar":
        sidecar.write_bytes(sidecar.read_bytes()[:40])
    else:
        record = json.loads(sidecar.read_text(encoding="utf-8"))
        record["key"]["device"] = "another GPU"
        sidecar.write_text(json.dumps(record), encoding="utf-8")


@pytest.mark.parametrize("change", ["engine", "no sidecar", "half a sidecar", "another key"])
def test_what_was_changed_is_never_loaded(bundle: Bundle, script: Any, change: str) -> None:
    expected = opened(bundle).run(IMAGES)["logits"]
    (path,) = private_folder("tensorrt").glob("*.engine")
    damage(change, path)
    script.calls.clear()
    assert (opened(bundle).run(IMAGES)["logits"] == expected).all()
    assert script.calls[0] != "deserialize"
    assert builds(script) == ["build strong"]


def test_an_engine_that_tensorrt_refuses_is_built_again(
    bundle: Bundle, script: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    opened(bundle)
    (path,) = private_folder("tensorrt").glob("*.engine")
    sidecar = path.with_suffix(".json")
    foreign = path.read_bytes().replace(b'"10.3.0"', b'"10.2.9"')
    record = json.loads(sidecar.read_text(encoding="utf-8")) | {"sha256": hashlib.sha256(foreign).hexdigest()}
    path.write_bytes(foreign)
    sidecar.write_text(json.dumps(record), encoding="utf-8")
    opened(bundle)
    assert builds(script) == ["build strong"] * 2
    assert "the engine was built by another version of TensorRT" in capsys.readouterr().err


def test_a_folder_that_others_can_write_to_is_not_used(bundle: Bundle, script: Any) -> None:
    private_folder("tensorrt").chmod(0o777)
    with pytest.raises(EdgebrainError, match="only you can write to"):
        opened(bundle)
    assert builds(script) == []


def test_timings_of_earlier_builds_are_used_and_of_other_devices_refused(bundle: Bundle, script: Any) -> None:
    opened(bundle)
    opened(bundle, Precision.INT8)
    assert [call for call in script.calls if call.startswith("timing")] == ["timing b''", "timing b'timed'"]
    for path in private_folder("tensorrt").glob("*.timing"):
        path.write_bytes(b"of another device")
    for path in private_folder("tensorrt").glob("*.json"):
        path.unlink()
    script.calls.clear()
    opened(bundle)
    assert [call for call in script.calls if call.startswith("timing")] == ["timing b'of another device'", "timing b''"]


# The DLA


def test_the_dla_of_jetpack_6(bundle: Bundle, script: Any) -> None:
    script.dla_cores = 2
    engine = opened(bundle, options=DLA)
    assert builds(script) == ["build weak"]
    assert {"set FP16", "set GPU_FALLBACK"} <= set(script.calls)
    assert engine.building["gpu_layers"] == ("layer0", "layer2")
    assert engine.info.provider == "DLA 0, Orin"
    assert engine.run(IMAGES)["logits"].shape == (3, 4)


def test_the_dla_of_11_4_1(bundle: Bundle, script: Any, reload_tensorrt: Callable[[str], None]) -> None:
    script.dla_cores = 2
    reload_tensorrt("11.4.1.1")
    assert opened(bundle, options=DLA).building["route"] == "strong"
    assert "parser ADJUST_FOR_DLA" in script.calls
    assert "set FP16" not in script.calls


@pytest.mark.parametrize("version", ["10.13.3.9", "10.16.2.10", "11.4.0"])
def test_versions_without_a_dla_refuse_it(
    bundle: Bundle, script: Any, reload_tensorrt: Callable[[str], None], version: str
) -> None:
    reload_tensorrt(version)
    with pytest.raises(EngineUnavailable, match=f"TensorRT {version} has no DLA"):
        opened(bundle, options=DLA)
    assert builds(script) == []


def test_the_dla_runs_fp16_only_and_must_be_there(bundle: Bundle, script: Any) -> None:
    with pytest.raises(EngineUnavailable, match="fp16 only"):
        opened(bundle, Precision.INT8, DLA)
    with pytest.raises(EngineUnavailable, match="no DLA core 0: TensorRT counts 0"):
        opened(bundle, options=DLA)
    assert builds(script) == []


# Failures


@pytest.mark.usefixtures("script")
def test_failures_are_one_error_each_with_what_tensorrt_said(bundle: Bundle, script: Any, cudart: Any) -> None:
    script.parses = False
    with pytest.raises(EngineFailed, match=r"does not read model\.trt\.fp16\.onnx: Gelu node7: Error Code 9"):
        opened(bundle)
    script.parses, script.starts = True, False
    with pytest.raises(EngineFailed, match="cannot start the engine"):
        opened(bundle)
    script.starts, script.runs = True, False
    with pytest.raises(EngineFailed, match="failed on a batch of 3"):
        opened(bundle).run(IMAGES)
    script.initialises = False
    with pytest.raises(EngineUnavailable, match="could not initialise CUDA"):
        opened(bundle)
    cudart.errors["cudaStreamCreate"] = 35
    with pytest.raises(
        EngineUnavailable, match=r"no usable GPU: cudaStreamCreate failed with CUDA error 35.*no driver"
    ):
        opened(bundle)


def test_memory_is_given_back_also_when_it_fails(bundle: Bundle, script: Any, cudart: Any) -> None:
    engine = opened(bundle)
    assert cudart.live
    engine.close()
    assert (cudart.live, cudart.streams) == ({}, set())
    cudart.errors["cudaMallocHost"] = 2
    with pytest.raises(EngineFailed, match="cudaMallocHost failed with CUDA error 2"):
        opened(bundle)
    assert (cudart.live, cudart.streams) == ({}, set())
    assert builds(script) == ["build strong"]


def test_a_bundle_cannot_bring_an_engine(bundle: Bundle, script: Any) -> None:
    plan = replace_file(bundle.manifest.artifacts[1], "model.engine")
    with pytest.raises(EngineFailed, match="built elsewhere are not run"):
        TrtEngine(bundle, plan, CUDA)
    assert script.calls == []


def replace_file(artifact: Artifact, file: str) -> Artifact:
    return Artifact(file, artifact.engine, artifact.precision, artifact.sha256, artifact.bytes)


def test_the_files_for_cpus_are_refused_in_int8(bundle: Bundle, script: Any) -> None:
    full = bundle.manifest.artifacts[0]
    quantised = Artifact("model.int8.onnx", "onnxruntime", Precision.INT8, full.sha256, full.bytes)
    with pytest.raises(EngineUnavailable, match="8-bit layout is made for CPUs"):
        open_engine(bundle, quantised, CUDA, "tensorrt")
    assert open_engine(bundle, full, CUDA, "tensorrt").info.precision == "fp32"
    assert builds(script) == ["build strong"]


def test_without_tensorrt_one_line_says_what_to_do(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineUnavailable, match="TensorRT cannot be loaded") as caught:
        opened(bundle)
    assert "edgebrain doctor --engine tensorrt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_old_a_tensorrt(bundle: Bundle, reload_tensorrt: Callable[[str], None]) -> None:
    reload_tensorrt("8.6.2.3")
    with pytest.raises(EngineUnavailable, match=r"TensorRT 8\.6\.2\.3 is too old"):
        opened(bundle)


# Rules


def test_versions_compare_as_numbers() -> None:
    assert version_of("10.16.2.10") > version_of("10.3.0")
    assert version_of("11.4.1.post1") == (11, 4, 1)
    assert version_of("") == ()
    assert types_weakly("10.16.1")
    assert not types_weakly("11.4.0")
    assert dla_refusal("10.3.0") is dla_refusal("10.7.0") is dla_refusal("11.4.1") is None
    assert "unknown version" in str(dla_refusal(""))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Version tag does not match. Note: Current Version: 240", "another version"),
        ("generated on an incompatible device, expecting compute 8.6", "another GPU"),
        ("Cuda error: out of memory", "too little free memory"),
        ("No matching rules found", "cannot type"),
    ],
)
def test_known_texts_have_a_meaning(text: str, meaning: str) -> None:
    assert meaning in str(meaning_of([text]))


def test_unknown_texts_have_none() -> None:
    assert meaning_of(["something else"]) is None
