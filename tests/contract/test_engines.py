"""What every engine owes the rest: the same cases for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgebrain.bundle import Artifact, Bundle, GraphSpec, open_bundle
from edgebrain.engines import ENGINES, Engine, EngineOptions, open_engine, record_of, unavailable_because
from edgebrain.engines.base import EngineFactory
from edgebrain.engines.ort import OrtEngine
from edgebrain.engines.ov import OvEngine
from edgebrain.engines.trt import TrtEngine
from edgebrain.errors import EngineFailed, EngineUnavailable, HashMismatch, UsageError
from edgebrain.types import Image8

BuildGraph = Callable[..., bytes]
WriteBundle = Callable[..., Path]
RNG = np.random.default_rng(3)
IMAGES: Image8 = RNG.integers(0, 256, (3, 1, 32, 32), dtype=np.uint8)
PROVIDERS = {"onnxruntime": "CPUExecutionProvider", "fake": "FakeProvider", "openvino": "CPU f32", "tensorrt": "Orin"}


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture(params=["onnxruntime", "openvino", "tensorrt", "fake"])
def factory(request: pytest.FixtureRequest, fake_engine: EngineFactory) -> EngineFactory:
    """Makes engines on their own device; TensorRT is a fake one with ONNX Runtime in it."""
    if request.param == "fake":
        return fake_engine
    if request.param == "onnxruntime":
        return OrtEngine
    if request.param == "openvino":
        if unavailable_because(ENGINES["openvino"]) is not None:
            pytest.skip("the extra 'openvino' is not installed")
        return OvEngine
    request.getfixturevalue("script")
    return on_the_gpu


def on_the_gpu(bundle: Bundle, artifact: Artifact, options: EngineOptions) -> Engine:
    device = "cuda" if options.device == "cpu" else options.device
    return TrtEngine(bundle, artifact, replace(options, device=device))


@pytest.fixture
def engine(factory: EngineFactory, bundle: Bundle) -> Engine:
    return factory(bundle, bundle.manifest.artifacts[0], EngineOptions(threads=1))


def test_info_says_what_really_runs(engine: Engine) -> None:
    info = engine.info
    assert info.provider == PROVIDERS[info.name]
    assert (info.precision, info.threads) == ("fp32", 1)
    assert info.version


@pytest.mark.parametrize("count", [1, 3])
def test_outputs_have_their_roles_shapes_and_types(engine: Engine, count: int) -> None:
    outputs = engine.run(IMAGES[:count])
    assert outputs["logits"].shape == (count, 4)
    assert outputs["embedding"].shape == (count, 16)
    assert outputs["cam"].shape == (count, 4, 4, 4)
    assert all(value.dtype == np.float32 and np.isfinite(value).all() for value in outputs.values())
    assert set(outputs) == {"logits", "embedding", "cam"}


@pytest.fixture
def judging(tmp_path: Path, build_graph: BuildGraph, write_bundle: WriteBundle) -> Bundle:
    """A bundle whose graph has the outlier output, and of the others only the logits."""
    model = build_graph(outputs=("logits", "embedding", "cam", "outlier"))
    return open_bundle(write_bundle(tmp_path / "judging", model, graph=GraphSpec(outlier="outlier")))


def test_the_outlier_output_is_one_number_an_image(factory: EngineFactory, judging: Bundle) -> None:
    outputs = factory(judging, judging.manifest.artifacts[0], EngineOptions(threads=1)).run(IMAGES)
    assert outputs["outlier"].shape == (3,)
    assert outputs["outlier"].dtype == np.float32
    assert outputs["outlier"] == pytest.approx(outputs["outlier"][:1].repeat(3), abs=3)
    assert len(set(outputs["outlier"].tolist())) == 3


def test_the_outlier_output_is_the_same_in_both_engines(judging: Bundle, fake_engine: EngineFactory) -> None:
    artifact = judging.manifest.artifacts[0]
    real, fake = (make(judging, artifact, EngineOptions()).run(IMAGES) for make in (OrtEngine, fake_engine))
    assert set(real) == {"logits", "outlier"}
    assert real["outlier"] == pytest.approx(fake["outlier"], abs=1e-3)


def test_a_batch_gives_what_its_images_give_alone(engine: Engine) -> None:
    together = engine.run(IMAGES)
    for index in range(3):
        alone = engine.run(IMAGES[index : index + 1])
        for role, value in together.items():
            assert value[index : index + 1] == pytest.approx(alone[role], abs=1e-5)


def test_the_answer_depends_on_the_image(engine: Engine) -> None:
    logits = engine.run(IMAGES)["logits"]
    assert np.abs(logits[0] - logits[1]).max() > 1e-3
    assert engine.run(IMAGES)["logits"] == pytest.approx(logits)


def test_images_are_left_alone_and_may_be_read_only(engine: Engine) -> None:
    images = IMAGES.copy()
    images.setflags(write=False)
    engine.run(images)
    assert (images == IMAGES).all()


def test_results_are_not_overwritten_by_the_next_run(engine: Engine) -> None:
    first = engine.run(IMAGES[:1])["logits"]
    before = first.copy()
    engine.run(IMAGES[1:2])
    assert (first == before).all()


@pytest.mark.parametrize(
    "images",
    [IMAGES.astype(np.float32), IMAGES[:, 0], IMAGES[:, :, :16], np.repeat(IMAGES, 3, axis=1)],
    ids=["float", "without channel", "too small", "three channels"],
)
def test_images_that_do_not_fit_the_graph(engine: Engine, images: Image8) -> None:
    with pytest.raises(EngineFailed):
        engine.run(images)
    assert engine.run(IMAGES)["logits"].shape == (3, 4)


@pytest.mark.parametrize("name", ["tpu", "npu", ""])
def test_a_device_that_is_not_there(factory: EngineFactory, bundle: Bundle, name: str) -> None:
    with pytest.raises(EngineUnavailable, match=f"cannot run on '{name}'") as caught:
        factory(bundle, bundle.manifest.artifacts[0], EngineOptions(device=name))
    assert caught.value.remedy


def test_a_closed_engine_runs_no_more(engine: Engine) -> None:
    engine.run(IMAGES)
    engine.close()
    engine.close()
    with pytest.raises(EngineFailed):
        engine.run(IMAGES)


@pytest.mark.parametrize("options", [EngineOptions(threads=2), EngineOptions(spin=True)])
def test_options_change_no_answer(factory: EngineFactory, bundle: Bundle, options: EngineOptions) -> None:
    artifact = bundle.manifest.artifacts[0]
    expected = factory(bundle, artifact, EngineOptions()).run(IMAGES)["logits"]
    other = factory(bundle, artifact, options)
    assert other.info.threads == options.threads
    assert other.run(IMAGES)["logits"] == pytest.approx(expected, abs=1e-5)


def test_the_two_engines_compute_the_same(bundle: Bundle, fake_engine: EngineFactory) -> None:
    artifact = bundle.manifest.artifacts[0]
    real, fake = (make(bundle, artifact, EngineOptions()).run(IMAGES) for make in (OrtEngine, fake_engine))
    for role, value in real.items():
        assert value == pytest.approx(fake[role], abs=1e-3)


# ONNX Runtime alone: only it has a graph to look at


def opened(folder: Path) -> Engine:
    bundle = open_bundle(folder)
    return open_engine(bundle, bundle.manifest.artifacts[0], EngineOptions())


def test_the_registry_opens_it(tiny_bundle: Path) -> None:
    engine = opened(tiny_bundle)
    assert isinstance(engine, OrtEngine)
    assert engine.info.name == "onnxruntime"
    assert set(ENGINES) == {"onnxruntime", "openvino", "tensorrt"}
    assert unavailable_because(record_of("onnxruntime")) is None


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_gpu_that_this_onnxruntime_does_not_have_is_refused(bundle: Bundle, device: str) -> None:
    import onnxruntime

    provider = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}[device]
    if provider in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime was built for a GPU")
    with pytest.raises(EngineUnavailable, match=f"cannot run on '{device}'") as caught:
        OrtEngine(bundle, bundle.manifest.artifacts[0], EngineOptions(device=device))
    assert "onnxruntime-gpu" in str(caught.value)


def test_a_provider_that_onnxruntime_replaces_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(EngineUnavailable, match="asked for CUDAExecutionProvider and took CPUExecutionProvider"):
        OrtEngine(bundle, bundle.manifest.artifacts[0], EngineOptions(device="cuda"))


def test_an_engine_that_is_not_registered() -> None:
    with pytest.raises(UsageError, match="no engine 'abacus'"):
        record_of("abacus")


def test_only_the_outputs_that_the_manifest_names_are_computed(
    tmp_path: Path, tiny_graph: bytes, write_bundle: WriteBundle
) -> None:
    engine = opened(write_bundle(tmp_path / "b", tiny_graph, graph=GraphSpec()))
    assert set(engine.run(IMAGES)) == {"logits"}


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        ({"outputs": ("logits", "embedding")}, "has no output cam"),
        ({"outputs": ("embedding",)}, "has no output cam, logits"),
        ({"dtype": "FLOAT"}, "does not take one uint8 input"),
        ({"side": 64}, "does not take one uint8 input 'image' [N, 1, 32, 32]"),
        ({"input_name": "x"}, "does not take one uint8 input 'image'"),
        ({"batch": 1}, "does not take one uint8 input"),
    ],
)
def test_a_graph_that_is_not_what_the_manifest_says(
    tmp_path: Path, build_graph: BuildGraph, write_bundle: WriteBundle, graph: dict[str, object], words: str
) -> None:
    folder = write_bundle(tmp_path / "b", build_graph(**graph))
    with pytest.raises(EngineFailed) as caught:
        opened(folder)
    assert words in caught.value.message
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("model", [b"", b"\x08\x08", b"\x08\x08\x3a\x00"])
def test_a_file_that_is_no_graph(tmp_path: Path, write_bundle: WriteBundle, model: bytes) -> None:
    with pytest.raises(EngineFailed, match=r"refuses model\.onnx"):
        opened(write_bundle(tmp_path / "b", model))


def test_a_changed_graph_never_reaches_the_engine(tiny_bundle: Path) -> None:
    path = tiny_bundle / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(HashMismatch):
        opened(tiny_bundle)


def test_nothing_is_printed(tmp_path: Path, write_bundle: WriteBundle, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineFailed):
        opened(write_bundle(tmp_path / "b", b"\x08\x08\x3a\x00"))
    assert capfd.readouterr() == ("", "")
