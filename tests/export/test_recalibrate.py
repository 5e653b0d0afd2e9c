from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgebrain import bundle as bundles
from edgebrain.classifier import Classifier
from edgebrain.errors import UsageError
from edgebrain.export.operating_point import fit_decision
from edgebrain.export.recalibrate import Recalibration, recalibrate
from edgebrain.export.recalibrate_command import run_recalibrate
from edgebrain.labelled import Sample, write_samples


@pytest.fixture(scope="module")
def made(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("here") / "bundle"
    recalibrate(Recalibration("edge", samples, folder, data_name="drawings"))
    return folder


def test_every_file_but_manifest_and_card_stays(made: Path) -> None:
    before, after = bundles.open_bundle("edge"), bundles.open_bundle(made)
    assert bundles.files_of(after.manifest) == bundles.files_of(before.manifest)
    assert all(after.read(entry) == before.read(entry) for entry in bundles.files_of(before.manifest))
    changelogs = [(folder / bundles.CHANGELOG).read_text(encoding="utf-8") for folder in (before.folder, made)]
    assert changelogs[0] == changelogs[1]


def test_the_decision_is_that_of_the_validation_scans(made: Path, samples: list[Sample]) -> None:
    manifest = bundles.open_bundle(made).manifest
    val = [s for s in samples if s.split == "val"]
    classifier = Classifier.load("edge", engine="onnxruntime")
    ready = [next(classifier.read(s.path)).prepared for s in val]
    images = np.stack([one.image for one in ready if one is not None])
    logits = classifier.engine.run(images)["logits"]
    classifier.close()
    targets = np.array([manifest.labels.index(s.label) for s in val], np.int64)
    fitted = fit_decision(logits, targets, manifest.labels.index("no_tumor"))
    for name in ("temperature", "standard_below", "operating_point", "min_confidence"):
        assert getattr(manifest.decision, name) == pytest.approx(getattr(fitted.spec, name))
    assert manifest.decision.max_outlier is not None


def test_the_card_and_the_figures_are_of_the_new_scans(made: Path, samples: list[Sample]) -> None:
    old, manifest = bundles.open_bundle("edge").manifest, bundles.open_bundle(made).manifest
    card = (made / bundles.CARD).read_text(encoding="utf-8")
    assert manifest.version == f"{old.version}+recalibrated"
    assert card.startswith(f"# Model card: edge {manifest.version}\n")
    assert "On drawings, the test split" in card
    assert manifest.provenance["recalibrated_from"] == f"edge {old.version}"
    assert manifest.metrics["int8"]["scans"] == sum(s.split == "test" for s in samples)
    assert manifest.metrics["int8"]["gate"] == old.metrics["int8"]["gate"]


def test_a_bundle_may_be_recalibrated_in_its_place_and_again(
    made: Path, samples: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    shutil.copytree(made, own)
    data = tmp_path / "ours.csv"
    write_samples(data, samples)
    assert run_recalibrate(str(own), [data], own, None, None) == 0
    said = capsys.readouterr()
    assert "temperature" in said.out
    assert "rests on 12 scans only" in said.err
    again = bundles.open_bundle(own).manifest
    assert again.version == bundles.open_bundle(made).manifest.version
    assert again.decision == bundles.open_bundle(made).manifest.decision


def test_without_validation_or_test_scans_nothing_is_written(samples: list[Sample], tmp_path: Path) -> None:
    for split in ("val", "test"):
        kept = [replace(s, split="train") if s.split == split else s for s in samples]
        with pytest.raises(UsageError, match=f"no {split} split"):
            recalibrate(Recalibration("edge", kept, tmp_path / split))
        assert not (tmp_path / split).exists()


@pytest.mark.parametrize("kept", ["glioma", "no_tumor"])
def test_thresholds_need_scans_on_both_sides(samples: list[Sample], tmp_path: Path, kept: str) -> None:
    one_sided = [s for s in samples if s.split != "val" or s.label == kept]
    with pytest.raises(UsageError, match=r"scans without a tumour and \d with one"):
        recalibrate(Recalibration("edge", one_sided, tmp_path / "bundle"))
    assert not (tmp_path / "bundle").exists()


def test_scans_that_cannot_be_read_are_named(samples: list[Sample], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    unreadable = [replace(s, path=str(broken)) if s.split == "val" else s for s in samples]
    with pytest.raises(UsageError, match=r"None of the 12 scans of the val split .*broken\.png"):
        recalibrate(Recalibration("edge", unreadable, tmp_path / "bundle"))
    assert not (tmp_path / "bundle").exists()
