"""From training with other pictures to a bundle that says how little a picture is like a scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra 'export' brings torch")
pytest.importorskip("onnx", reason="the extra 'export' brings onnx")

from edgebrain.bundle import open_bundle
from edgebrain.classifier import Classifier
from edgebrain.decision import outlier_score
from edgebrain.evaluation.run import evaluate_samples
from edgebrain.export.outlier_limit import RANGE
from edgebrain.export.pipeline import ExportRequest, export_bundle
from edgebrain.export.to_onnx import run_onnx
from edgebrain.export.verify import Limits
from edgebrain.labelled import NOT_BRAIN_MRI, Sample
from edgebrain.train.config import load_recipe
from edgebrain.train.data import prepare_samples
from edgebrain.train.fit import fit
from edgebrain.train.pictures import draw_picture

TINY = (
    "input.width=64",
    "input.height=64",
    "data.canvas=72",
    "data.outliers=0.3",
    "model.stem=8",
    "model.widths=[8, 16]",
    "model.blocks=[1, 1]",
    "trainer.batch_size=8",
    "trainer.epochs=2",
    "trainer.precision=32-true",
    "trainer.workers=0",
)
ANYTHING = Limits(1.0, 1.0, 1.0, 1.0)
PER_SPLIT = 4


@dataclass(frozen=True)
class Made:
    """A bundle and what it was made from."""

    folder: Path
    samples: Sequence[Sample]


@pytest.fixture(scope="module")
def made(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("outliers")
    scan = np.zeros((96, 96), np.uint8)
    pictures = []
    for k, split in enumerate(s for s in ("train", "val", "test") for _ in range(PER_SPLIT)):
        path = root / f"picture{k}.png"
        assert cv2.imwrite(str(path), draw_picture(96, scan, np.random.default_rng(100 + k)))
        pictures.append(Sample(str(path), NOT_BRAIN_MRI, "drawn", f"p{k}", split))
    together = [*samples, *pictures]
    run = fit(load_recipe("edge", list(TINY)), together, root / "run", threads=1)
    request = ExportRequest(
        run.model, root / "bundle", "1.0.0", together, "drawn", calibration_scans=16, limits=ANYTHING
    )
    return Made(export_bundle(request).folder, together)


def test_the_manifest_names_the_output_and_its_limit(made: Made) -> None:
    manifest = open_bundle(made.folder).manifest
    assert manifest.graph.outlier == "outlier"
    assert manifest.decision.max_outlier is not None
    assert RANGE[0] <= manifest.decision.max_outlier <= RANGE[1]
    resting_on = manifest.provenance["thresholds"]
    assert "max_outlier refuses" in resting_on
    assert "of 12 validation scans and accepts" in resting_on
    assert f"of {PER_SPLIT} other pictures" in resting_on
    assert resting_on in (made.folder / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_answer_has_the_score_that_the_file_gives(made: Made, precision: str) -> None:
    classifier = Classifier.load(made.folder, precision=precision)
    chosen = [s for s in made.samples if s.split == "test"][-2 * PER_SPLIT :]
    manifest = classifier.bundle.manifest
    images = prepare_samples(chosen, manifest.labels, manifest.input, None).images[:, np.newaxis]
    (file,) = (a.file for a in manifest.artifacts if a.precision.value == precision)
    logits = run_onnx((made.folder / file).read_bytes(), images, batch=1)["outlier"]
    found = [classifier.classify(s.path).outlier_score for s in chosen]
    assert found == pytest.approx([outlier_score(float(v)) for v in logits], abs=1e-4)
    assert len(set(found)) > 1


def test_pictures_are_measured_apart_from_scans(made: Made) -> None:
    test = [s for s in made.samples if s.split == "test"]
    evaluation = evaluate_samples(Classifier.load(made.folder), test)
    assert evaluation.n == len(test) - PER_SPLIT
    assert evaluation.outliers is not None
    assert evaluation.outliers.n == PER_SPLIT
    assert open_bundle(made.folder).manifest.metrics["int8"]["scans"] == len(test) - PER_SPLIT
