from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from edgebrain.bundle import Artifact, Bundle, open_bundle
from edgebrain.errors import ExportError, UsageError
from edgebrain.export import restore as restoring
from edgebrain.export.graph_weights import weights_of
from edgebrain.export.restore import restore
from edgebrain.export.restore_command import run_restore
from edgebrain.labelled import Sample, write_samples
from edgebrain.manifest import GraphSpec
from edgebrain.phantom import LESIONS, PhantomSpec, draw_phantom
from edgebrain.preprocessing import prepare
from edgebrain.readers import from_array, read_middle
from edgebrain.train.config import load_recipe
from edgebrain.train.models import TrainedModel, load_model
from edgebrain.types import Precision


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return open_bundle("edge")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory, shipped: Bundle) -> list[Sample]:
    folder = tmp_path_factory.mktemp("scans")
    labels = shipped.manifest.labels
    samples = []
    for i in range(16):
        path = folder / f"{i}.png"
        spec = PhantomSpec(seed=i, lesion=LESIONS[i % len(LESIONS)], side=200, t2_like=i % 2 == 0)
        assert cv2.imwrite(str(path), draw_phantom(spec))
        samples.append(Sample(str(path), labels[i % len(labels)]))
    return samples


class Case(NamedTuple):
    """What was restored, what it was made of, and how far apart their answers may be."""

    trained: TrainedModel
    model: str
    version: str
    artifact: Artifact
    graph: GraphSpec
    apart: float


@pytest.fixture(scope="module", params=["first reader", "second reader"])
def restored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shipped: Bundle, scans: list[Sample]
) -> Case:
    path = tmp_path_factory.mktemp("restored") / "model.safetensors"
    second = shipped.manifest.second_reader if request.param == "second reader" else None
    done = restore(shipped, scans, path, second_reader=second is not None)
    assert done.scans == len(scans)
    trained = load_model(path)
    if second is not None:
        assert done.largest_difference < 0.5
        return Case(trained, second.id, second.version, second.artifact, second.graph, 0.5)
    assert done.largest_difference < 1e-3
    return Case(trained, "edge", shipped.manifest.version, fp32(shipped), shipped.manifest.graph, 2e-3)


def fp32(bundle: Bundle) -> Artifact:
    return next(a for a in bundle.manifest.artifacts if a.precision is Precision.FP32)


def test_it_answers_as_the_bundle_does_on_other_scans(shipped: Bundle, restored: Case) -> None:
    drawn = (draw_phantom(PhantomSpec(seed=100 + i, side=180)) for i in range(8))
    images = np.stack([prepare(from_array(one), shipped.manifest.input).image for one in drawn])
    session = onnxruntime.InferenceSession(shipped.read(restored.artifact), providers=["CPUExecutionProvider"])
    graph = restored.graph
    with torch.inference_mode():
        found = restored.trained.net(torch.from_numpy(images))._asdict()
    # A pixel of an activation map is no mean of anything: in 8 bits a single one may be far off.
    fields = ["logits", "outlier"] if restored.artifact.precision is Precision.INT8 else list(found)
    expected = session.run([getattr(graph, field) for field in fields], {graph.input: images})
    for field, values in zip(fields, expected, strict=True):
        np.testing.assert_allclose(found[field].numpy(), values, atol=restored.apart, rtol=restored.apart)


def test_training_starts_close_to_what_it_answers(scans: list[Sample], shipped: Bundle, restored: Case) -> None:
    images = np.stack([prepare(read_middle(s.path), shipped.manifest.input).image for s in scans])
    net = restored.trained.net
    with torch.inference_mode():
        evaluated = net(torch.from_numpy(images)).embedding.numpy()
        net.train()
        trained = net(torch.from_numpy(images)).embedding.numpy()
        net.eval()
    # The statistics were taken on these very scans, so those of the batch are the same ones.
    assert np.abs(trained - evaluated).max() < 0.02 * np.abs(evaluated).max()


def test_it_says_where_it_comes_from_and_fits_its_recipe(shipped: Bundle, restored: Case) -> None:
    origin = {"id": restored.model, "version": restored.version, "sha256": restored.artifact.sha256}
    assert restored.trained.facts["restored_from"] == origin
    assert restored.trained.recipe.name == restored.model
    assert restored.trained.recipe.seed == load_recipe(restored.model).seed
    assert restored.trained.recipe.input == shipped.manifest.input
    assert restored.trained.recipe.data.labels == tuple(shipped.manifest.labels)


def test_a_bundle_without_a_second_reader_has_none_to_restore(
    shipped: Bundle, scans: list[Sample], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="edge has no second reader"):
        restore(shipped.first_alone(), scans, tmp_path / "model.safetensors", second_reader=True)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_of_another_layout_is_refused(
    shipped: Bundle, scans: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(self: Bundle, artifact: Artifact) -> bytes:
        model = onnx.load_from_string(original(self, artifact))
        tensor = next(t for t in model.graph.initializer if t.name == "stem.0.weight")
        tensor.CopyFrom(numpy_helper.from_array(np.zeros((3, 1, 3, 3), np.float32), tensor.name))
        return bytes(model.SerializeToString())

    original = Bundle.read
    monkeypatch.setattr(Bundle, "read", other)
    with pytest.raises(UsageError, match=r"not laid out .*\(3, 1, 3, 3\) instead of"):
        restore(shipped, scans, tmp_path / "model.safetensors")
    assert not (tmp_path / "model.safetensors").exists()


def test_a_bundle_of_an_unknown_recipe_is_refused(
    shipped: Bundle, scans: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "recipe_names", lambda: ["another"])
    with pytest.raises(UsageError, match="recipe 'edge', which does not come with edgebrain"):
        restore(shipped, scans, tmp_path / "model.safetensors")


def test_a_network_that_answers_otherwise_is_not_written(
    shipped: Bundle, scans: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "_TOLERANCE", 0.0)  # rounding alone is more
    with pytest.raises(ExportError, match="not the graph of edge: logits differ"):
        restore(shipped, scans, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_second_reader_with_a_layer_astray_is_not_written(
    shipped: Bundle, scans: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def astray(graph: bytes) -> dict[str, torch.Tensor]:
        weights = weights_of(graph)
        return {**weights, "stem.0.weight": weights["stem.0.weight"].flip(0)}

    monkeypatch.setattr(restoring, "weights_of", astray)
    with pytest.raises(ExportError, match="not the graph of edge-second"):
        restore(shipped, scans, tmp_path / "model.safetensors", second_reader=True)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_model_and_names_what_it_left_out(
    scans: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    data = tmp_path / "data.csv"
    write_samples(data, [*scans[:4], Sample(str(broken), "glioma")])
    output = tmp_path / "model.safetensors"
    assert run_restore("edge", data, output) == 0
    said = capsys.readouterr()
    assert f"--set start={output}" in said.out
    assert "broken.png" in said.err
    assert "rest on 4 scans only" in said.err
    assert load_model(output).recipe.name == "edge"
    before = output.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        run_restore("edge", data, output)
    assert output.read_bytes() == before


def test_the_command_restores_the_second_reader_on_demand(
    shipped: Bundle, scans: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = tmp_path / "data.csv", tmp_path / "second.safetensors"
    write_samples(data, scans)
    assert run_restore("edge", data, output, second_reader=True) == 0
    second = shipped.manifest.second_reader
    assert second is not None
    assert f"edgebrain train {second.id} " in capsys.readouterr().out
    assert load_model(output).recipe.name == second.id


def test_bad_input_is_named_before_any_work(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    data = tmp_path / "data.csv"
    write_samples(data, [Sample(str(broken), "glioma")])
    output = tmp_path / "model.safetensors"
    with pytest.raises(UsageError, match=r"data\.csv: None of the scans could be read"):
        run_restore("edge", data, output)
    with pytest.raises(UsageError, match="folder does not exist"):
        run_restore("edge", data, tmp_path / "no" / "model.safetensors")
    with pytest.raises(UsageError, match="is a folder"):
        run_restore("edge", data, tmp_path)
    with pytest.raises(UsageError, match="no-such-model"):
        run_restore("no-such-model", data, output)
    assert not output.exists()
