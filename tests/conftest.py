"""What the tests of more than one folder share: a small real model, and an engine that needs none."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings

from edgebrain.bundle import SCHEMA_VERSION, Artifact, Bundle, GraphSpec, Manifest, write_manifest
from edgebrain.classifier import Classifier
from edgebrain.decision import DecisionSpec
from edgebrain.device import Choice
from edgebrain.engines import EngineInfo, EngineOptions
from edgebrain.errors import EngineFailed, EngineUnavailable
from edgebrain.types import Float32, Image8, InputSpec, Precision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Answer = Callable[[Image8], Float32]

LABELS = ("glioma", "meningioma", "no_tumor", "pituitary")
SIDE = 32

# A busy machine is no fault of the code; how fast it is, benchmarks measure.
settings.register_profile("edgebrain", deadline=None)
settings.load_profile("edgebrain")


class FakeEngine:
    """An engine without a library: a fixed linear map of the image's 4 x 4 means."""

    def __init__(
        self,
        bundle: Bundle,
        artifact: Artifact,
        options: EngineOptions,
        answer: Answer | None = None,
        outlier: Answer | None = None,
    ) -> None:
        if options.device != "cpu":
            raise EngineUnavailable(f"The fake engine cannot run on {options.device!r}.", remedy="Use cpu.")
        self.info = EngineInfo("fake", "FakeProvider", artifact.precision.value, options.threads, "1")
        self._shape = (1, bundle.manifest.input.height, bundle.manifest.input.width)
        weights = np.random.default_rng(5).normal(0, 0.5, (16, len(bundle.manifest.labels)))
        self._weights = weights.astype(np.float32)
        self._answer = answer
        self._outlier = outlier
        self._names_outlier = bundle.manifest.graph.outlier is not None
        self._closed = False

    def run(self, images: Image8) -> dict[str, Float32]:
        if self._closed or images.dtype != np.uint8 or images.shape[1:] != self._shape:
            raise EngineFailed(f"The fake engine cannot run {images.dtype} {images.shape}.")
        _, rows, columns = self._shape
        blocks = images[:, :, : rows // 4 * 4, : columns // 4 * 4].reshape(-1, 4, rows // 4, 4, columns // 4)
        embedding = (blocks.mean((2, 4), dtype=np.float64) / 16).astype(np.float32).reshape(-1, 16)
        # One by one: a matrix product may round differently for another batch size.
        logits = np.stack([row @ self._weights for row in embedding])
        if self._answer is not None:
            logits = self._answer(images)
        cam = embedding.reshape(-1, 1, 4, 4) * self._weights[0].reshape(1, -1, 1, 1)
        outputs = {"logits": logits, "embedding": embedding, "cam": cam}
        if self._names_outlier:
            outputs["outlier"] = embedding.mean(1) - 4 if self._outlier is None else self._outlier(images)
        return outputs

    def close(self) -> None:
        self._closed = True


def make_manifest(**changes: Any) -> Manifest:
    """The manifest of a small model whose one artifact was never written."""
    fields: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "id": "tiny",
        "version": "1.0.0",
        "description": "A model for tests.",
        "labels": LABELS,
        "negative_label": "no_tumor",
        "input": InputSpec(width=SIDE, height=SIDE),
        "graph": GraphSpec(embedding="embedding", cam="cam", embedding_size=16),
        "decision": DecisionSpec(temperature=1.5, operating_point=0.6, standard_below=0.3, min_confidence=0.4),
        "artifacts": (Artifact("model.onnx", "onnxruntime", Precision.FP32, "0" * 64, 0),),
        "license": "Apache-2.0",
        "intended_use": "Tests.",
    }
    return Manifest(**{**fields, **changes})


def build_graph(
    *,
    outputs: tuple[str, ...] = ("logits", "embedding", "cam"),
    input_name: str = "image",
    dtype: str = "UINT8",
    batch: int | str = "N",
    side: int = SIDE,
    seed: int = 5,
) -> bytes:
    """An ONNX graph: 4 x 4 means, of them a class map, the embedding, the logits and an outlier output."""
    onnx = pytest.importorskip("onnx", reason="the extra 'export' brings the onnx package")
    helper, tensor = onnx.helper, onnx.TensorProto
    weights = np.random.default_rng(seed).normal(0, 0.5, (16, len(LABELS))).astype(np.float32)
    nodes = [
        helper.make_node("Cast", [input_name], ["wide"], to=tensor.FLOAT),
        helper.make_node("AveragePool", ["wide"], ["means"], kernel_shape=[side // 4] * 2, strides=[side // 4] * 2),
        helper.make_node("Mul", ["means", "scale"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "weights"], ["logits"]),
        helper.make_node("Conv", ["scaled", "per_class"], ["cam"]),
        helper.make_node("ReduceMean", ["embedding"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Sub", ["mean", "four"], ["outlier"]),
    ]
    shapes = {
        "logits": [batch, len(LABELS)],
        "embedding": [batch, 16],
        "cam": [batch, len(LABELS), 4, 4],
        "outlier": [batch],
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(input_name, getattr(tensor, dtype), [batch, 1, side, side])],
        [helper.make_tensor_value_info(name, tensor.FLOAT, shapes[name]) for name in outputs],
        [
            onnx.numpy_helper.from_array(np.float32(1 / 16), "scale"),
            onnx.numpy_helper.from_array(np.float32(4), "four"),
            onnx.numpy_helper.from_array(weights, "weights"),
            onnx.numpy_helper.from_array(weights[0].reshape(-1, 1, 1, 1), "per_class"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def write_bundle(folder: Path, model: bytes, **changes: Any) -> Path:
    """Write a bundle of one graph; the manifest holds its hash."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    digest = hashlib.sha256(model).hexdigest()
    artifact = Artifact("model.onnx", "onnxruntime", Precision.FP32, digest, len(model))
    write_manifest(folder, make_manifest(**{"artifacts": (artifact,), **changes}))
    return folder


def make_classifier(answer: Answer | None = None, outlier: Answer | None = None, **changes: Any) -> Classifier:
    """A classifier with the fake engine; ``answer`` makes logits [N, K], ``outlier`` [N], of images [N, 1, H, W]."""
    bundle = Bundle(Path("no folder"), make_manifest(**changes))
    artifact = bundle.manifest.artifacts[0]
    engine = FakeEngine(bundle, artifact, EngineOptions(), answer, outlier)
    return Classifier(bundle, engine, Choice(artifact, 1, "cpu", ("a test",), ()))


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Engines keep what they compile here, and not in the user's folder."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("EDGEBRAIN_CACHE", str(folder))
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The tensor library with one thread: another number of them may round otherwise."""
    torch = pytest.importorskip("torch", reason="the extra 'train' brings torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", name="make_manifest")
def _make_manifest() -> Callable[..., Manifest]:
    return make_manifest


@pytest.fixture(scope="session", name="make_classifier")
def _make_classifier() -> Callable[..., Classifier]:
    return make_classifier


@pytest.fixture(scope="session", name="build_graph")
def _build_graph() -> Callable[..., bytes]:
    return build_graph


@pytest.fixture(scope="session", name="write_bundle")
def _write_bundle() -> Callable[..., Path]:
    return write_bundle


@pytest.fixture(scope="session")
def fake_engine() -> type[FakeEngine]:
    return FakeEngine


@pytest.fixture(scope="session")
def tiny_graph() -> bytes:
    """A real graph; skipped where the onnx package is missing."""
    return build_graph()


@pytest.fixture
def tiny_bundle(tmp_path: Path, tiny_graph: bytes) -> Path:
    """The folder of a small, complete, real bundle."""
    return write_bundle(tmp_path / "tiny", tiny_graph)
