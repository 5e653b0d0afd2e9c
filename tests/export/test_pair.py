from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgebrain import bundle as bundles
from edgebrain.classifier import Classifier
from edgebrain.errors import UsageError
from edgebrain.export.pair import MOST_SHIFT, Pairing, fit_reader, pair
from edgebrain.export.pair_command import run_pair
from edgebrain.labelled import Sample, write_samples
from edgebrain.types import InputSpec

SHARE = 0.5


def one_reader(folder: Path, **changes: Any) -> Path:
    """The shipped model without its second reader."""
    source = bundles.open_bundle("edge")
    shutil.copytree(source.folder, folder)
    manifest = msgspec.structs.replace(source.manifest, second_reader=None, **changes)
    for entry in bundles.files_of_second_reader(source.manifest):
        (folder / entry.file).unlink()
    bundles.write_manifest(folder, manifest)
    return folder


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return one_reader(tmp_path_factory.mktemp("first") / "bundle")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network in float alone, as another model."""
    full = tuple(a for a in bundles.open_bundle("edge").manifest.artifacts if a.precision.value == "fp32")
    return one_reader(tmp_path_factory.mktemp("second") / "bundle", id="other", version="7", artifacts=full)


@pytest.fixture(scope="module")
def made(first: Path, second: Path, samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paired") / "bundle"
    pair(Pairing(first, second, samples, folder, SHARE, data_name="drawings"))
    return folder


def test_the_files_of_both_stay(made: Path, first: Path, second: Path) -> None:
    old, other, new = (bundles.open_bundle(folder) for folder in (first, second, made))
    kept = bundles.files_of(old.manifest)
    assert bundles.files_of(new.manifest)[: len(kept)] == kept
    assert all(new.read(entry) == old.read(entry) for entry in kept)
    reader = new.manifest.second_reader
    assert reader is not None
    assert (reader.id, reader.version, reader.graph) == ("other", "7", other.manifest.graph)
    assert reader.artifact.file == "second.onnx"
    assert new.read(reader.artifact) == other.read(other.manifest.artifacts[0])
    assert reader.golden is not None
    assert other.manifest.golden is not None
    assert new.read(reader.golden) == other.read(other.manifest.golden)


def test_at_least_the_share_is_read_twice(made: Path, samples: list[Sample]) -> None:
    val = [s.path for s in samples if s.split == "val"]
    with closing(Classifier.load(made, engine="onnxruntime")) as classifier:
        images = [next(classifier.read(path)).prepared for path in val]
        found = classifier.engine.run(np.stack([one.image for one in images if one is not None]))
    assert (found["readers"] == 2).sum() >= SHARE * len(val)


def test_card_and_provenance_name_the_second_reader(made: Path) -> None:
    manifest = bundles.open_bundle(made).manifest
    card = (made / bundles.CARD).read_text(encoding="utf-8")
    assert manifest.version.endswith("+other")
    assert manifest.provenance["second_reader"].startswith("other 7, asked about ")
    assert "**Second reader.** other 7" in card
    assert "second.onnx" in card


def test_the_command_says_what_it_did(
    first: Path, second: Path, samples: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "ours.csv"
    write_samples(data, samples)
    code = run_pair(
        first=str(first),
        second=str(second),
        splits=[data],
        output=tmp_path / "new",
        share=SHARE,
        version="2.0.0",
        data_name=None,
    )
    assert code == 0
    assert "second reader: asked about" in capsys.readouterr().out
    assert bundles.open_bundle(tmp_path / "new").manifest.version == "2.0.0"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "ours.csv"]


def test_a_pair_takes_no_third(made: Path, first: Path, second: Path, samples: list[Sample], tmp_path: Path) -> None:
    for one, other in ((made, second), (first, made)):
        with pytest.raises(UsageError, match="has a second reader already"):
            pair(Pairing(one, other, samples, tmp_path / "new"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("changes", "name"), [({"negative_label": None}, "labels"), ({"input": InputSpec(width=64, height=64)}, "input")]
)
def test_models_that_read_otherwise_are_no_pair(
    first: Path, samples: list[Sample], tmp_path: Path, changes: dict[str, Any], name: str
) -> None:
    other = one_reader(tmp_path / "other", id="other", **changes)
    with pytest.raises(UsageError, match=f"edge and other differ in their {name}"):
        pair(Pairing(first, other, samples, tmp_path / "new"))


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_is_a_share(first: Path, second: Path, samples: list[Sample], tmp_path: Path, share: float) -> None:
    with pytest.raises(UsageError, match="share of scans to read twice"):
        pair(Pairing(first, second, samples, tmp_path / "new", share))


def test_the_weight_is_that_of_the_better_reader() -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 4, 400)
    truth = np.eye(4, dtype=np.float32)[targets] * 4
    good = (truth + rng.normal(0, 1, truth.shape)).astype(np.float32)
    bad = (truth + rng.normal(0, 4, truth.shape)).astype(np.float32)
    assert fit_reader(bad, good, targets, None, 0.2).weight > 0.7
    assert fit_reader(good, bad, targets, None, 0.2).weight < 0.3
    helped = fit_reader(bad, good, targets, None, 0.5)
    assert helped.right_together > helped.right
    assert 200 <= helped.asked <= 210


def test_the_shift_is_how_much_more_often_pictures_are_in_doubt() -> None:
    rng = np.random.default_rng(2)
    targets = rng.integers(0, 4, 98)
    logits = (np.eye(4, dtype=np.float32)[targets] * np.linspace(1, 9, 98, dtype=np.float32)[:, np.newaxis]).copy()
    sure, unsure = logits[-1:].repeat(98, 0), np.zeros((98, 4), np.float32)
    half = np.concatenate([sure[:49], unsure[:49]])
    shifts = [fit_reader(logits, logits, targets, some, 0.2).outlier_shift for some in (None, sure, half, unsure)]
    assert shifts == [0.0, 0.0, pytest.approx(np.log(0.5 / 0.21), abs=0.06), MOST_SHIFT]


def test_a_pair_has_two_outlier_outputs_or_none(first: Path, samples: list[Sample], tmp_path: Path) -> None:
    manifest = bundles.open_bundle("edge").manifest
    graph = msgspec.structs.replace(manifest.graph, outlier=None)
    decision = msgspec.structs.replace(manifest.decision, max_outlier=None)
    other = one_reader(tmp_path / "other", id="other", graph=graph, decision=decision)
    with pytest.raises(UsageError, match="other has no outlier output"):
        pair(Pairing(first, other, samples, tmp_path / "new"))
