"""The figures in the shipped bundle, measured again on the real scans. Marked ``data``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the audit is part of the extra 'train'")

import edgebrain
from edgebrain.evaluation.run import evaluate_samples
from edgebrain.labelled import Sample, read_labelled
from edgebrain.train.audit import run_audit

DATA = Path(os.environ.get("EDGEBRAIN_DATA", Path(__file__).parents[3] / "shared" / "data"))
FOLDERS = ("brain-tumor-mri", "sartaj", "other-source")

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not all((DATA / name).is_dir() for name in FOLDERS),
        reason="EDGEBRAIN_DATA names no folder with the published sets",
    ),
]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """The splits that the model card names, made anew."""
    folder = tmp_path_factory.mktemp("splits")
    code = run_audit(
        [DATA / name for name in FOLDERS],
        json_path=folder / "audit.json",
        strict=False,
        copy_threshold=0.99,
        group_threshold=0.95,
        splits_path=folder / "splits.csv",
        fractions=(0.7, 0.15, 0.15),
        seed=0,
    )
    assert code == 0
    return read_labelled(folder / "splits.csv")


def test_no_group_is_in_two_splits(samples: list[Sample]) -> None:
    places: dict[str, set[str]] = {}
    for sample in samples:
        if sample.split != "external":
            places.setdefault(sample.group, set()).add(sample.split)
    assert max(len(splits - {""}) for splits in places.values()) == 1


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_card_figures_reproduce(samples: list[Sample], precision: str) -> None:
    classifier = edgebrain.Classifier.load("edge", precision=precision)
    stated = classifier.bundle.manifest.metrics[precision]
    found = evaluate_samples(classifier, [s for s in samples if s.split == "test" and not s.copy_of])
    assert found.n == stated["scans"]
    assert found.n_groups == stated["groups"]
    # Other processors round INT8 differently; a scan or two may change sides.
    assert found.accuracy.value == pytest.approx(stated["accuracy"]["value"], abs=0.005)
    assert found.macro_f1.value == pytest.approx(stated["macro_f1"]["value"], abs=0.005)
