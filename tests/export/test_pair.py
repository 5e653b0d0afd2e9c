from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgebrain import bundle as bundles
from edgebrain.classifier import Classifier
from edgebrain.cli.app import run
from edgebrain.engines.two_readers import in_doubt
from edgebrain.errors import UsageError
from edgebrain.evaluation.measure import evaluate_arrays
from edgebrain.export.formats import targets
from edgebrain.export.pair import Pairing, pair
from edgebrain.export.pair_fit import MOST_SHIFT, fit_reader
from edgebrain.export.recalibrate import Recalibration, recalibrate
from edgebrain.export.reexport import ReexportRequest, reexport
from edgebrain.export.restore import restore
from edgebrain.labelled import Sample, write_samples
from edgebrain.types import InputSpec, Precision

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
    return as_second(tmp_path_factory.mktemp("second") / "bundle", id="other", version="7")


def as_second(folder: Path, **changes: Any) -> Path:
    """Another model: the shipped INT8 network, a byte longer, as if its weights had 7 bits."""
    one_reader(folder)
    manifest = bundles.open_bundle(folder).manifest
    (file,) = (a for a in manifest.artifacts if a.precision is Precision.INT8)
    for other in set(manifest.artifacts) - {file}:
        (folder / other.file).unlink()
    # A field that no version of ONNX knows: readers skip it.
    (folder / file.file).write_bytes((folder / file.file).read_bytes() + b"\xf8\x06\x00")
    facts = bundles.describe_file(folder / file.file)
    reduced = msgspec.structs.replace(file, sha256=facts.sha256, bytes=facts.bytes, layout="u8s8-reduced")
    bundles.write_manifest(folder, msgspec.structs.replace(manifest, artifacts=(reduced,), **changes))
    return folder


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
    assert reader.artifact.file == "second.int8.onnx"
    assert new.read(reader.artifact) == other.read(other.manifest.artifacts[0])
    assert reader.golden is not None
    assert other.manifest.golden is not None
    assert new.read(reader.golden) == other.read(other.manifest.golden)


def with_float(folder: Path, version: str) -> Path:
    """Another model with both precisions: its fp32 file is the shipped one, a byte longer."""
    as_second(folder, id="other", version=version)
    manifest = bundles.open_bundle(folder).manifest
    source = bundles.open_bundle("edge")
    (original,) = (a for a in source.manifest.artifacts if a.precision is Precision.FP32)
    (folder / original.file).write_bytes(source.read(original) + b"\xf8\x06\x00")
    facts = bundles.describe_file(folder / original.file)
    longer = msgspec.structs.replace(original, sha256=facts.sha256, bytes=facts.bytes)
    bundles.write_manifest(folder, msgspec.structs.replace(manifest, artifacts=(longer, *manifest.artifacts)))
    return folder


def test_both_precisions_of_a_pair_are_compared(first: Path, samples: list[Sample], tmp_path: Path) -> None:
    second, folder = with_float(tmp_path / "second", "8"), tmp_path / "paired"
    pair(Pairing(first, second, samples, folder, SHARE, data_name="drawings"))
    found = bundles.open_bundle(folder).manifest.metrics["int8"]["gate_of_both"]
    assert {split: one["scans"] for split, one in found.items()} == {
        split: sum(s.split == split for s in samples) for split in ("val", "test")
    }
    # Both networks are the shipped one, so that the precisions differ by what quantisation does, and by no more.
    assert all(0 < one["largest_shift"] < 0.5 for one in found.values())
    card = (folder / bundles.CARD).read_text(encoding="utf-8")
    assert "Both readers in INT8, as they are shipped, against both in fp32" in card
    recalibrate(Recalibration(folder, samples, tmp_path / "again"))
    assert bundles.open_bundle(tmp_path / "again").manifest.metrics["int8"]["gate_of_both"] == found


def test_beside_a_second_reader_without_a_float_file_the_first_is_compared(
    made: Path, samples: list[Sample], tmp_path: Path
) -> None:
    metrics = bundles.open_bundle(made).manifest.metrics["int8"]
    assert "gate_of_both" not in metrics
    assert set(metrics["gate_beside_second"]) == {"val", "test"}
    words = "against the first in fp32 (the second has no such file)"
    assert words in (made / bundles.CARD).read_text(encoding="utf-8")
    recalibrate(Recalibration(made, samples, tmp_path / "again"))
    assert (
        bundles.open_bundle(tmp_path / "again").manifest.metrics["int8"]["gate_beside_second"]
        == (metrics["gate_beside_second"])
    )
    assert words in (tmp_path / "again" / bundles.CARD).read_text(encoding="utf-8")


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
    assert "second.int8.onnx" in card


def test_the_command_says_what_it_did(
    first: Path, second: Path, samples: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "ours.csv"
    write_samples(data, samples)
    report = tmp_path / "r.json"
    found = evaluate_arrays(("glioma", "no_tumor"), "no_tumor", ["tumor"], np.eye(2)[:1], ["prioritise"], None)
    report.write_bytes(msgspec.json.encode(found))
    out = tmp_path / "new"
    given = ["--share", str(SHARE), "--model-version", "2.0.0", "--left-out", f"elsewhere={report}"]
    code = run(["pair", str(first), str(second), "--splits", str(data), "-o", str(out), *given])
    assert code == 0
    assert "second reader: asked about" in capsys.readouterr().out
    assert bundles.open_bundle(tmp_path / "new").manifest.version == "2.0.0"
    assert "| elsewhere | 1, 0 |" in (out / bundles.CARD).read_text(encoding="utf-8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "ours.csv", "r.json"]


def test_negatives_are_left_to_the_second(first: Path, second: Path, samples: list[Sample], tmp_path: Path) -> None:
    data, out = tmp_path / "ours.csv", tmp_path / "new"
    write_samples(data, samples)
    assert run(["pair", str(first), str(second), "--splits", str(data), "-o", str(out), "--negatives"]) == 0
    manifest = bundles.open_bundle(out).manifest
    assert manifest.second_reader is not None
    assert manifest.second_reader.negatives
    assert ", and all negatives)" in manifest.provenance["second_reader"]
    card = (out / bundles.CARD).read_text(encoding="utf-8")
    assert "reads every scan that the first calls no_tumor without a doubt:\nthere its logits" in card
    assert "the first network is sure that there is none" in card
    # What is made of it later keeps the rule.
    recalibrate(Recalibration(out, samples, tmp_path / "here"))
    exported = reexport(ReexportRequest(bundles.open_bundle(out), tmp_path / "more", targets((), ())))
    for folder in (tmp_path / "here", exported.folder):
        assert bundles.open_bundle(folder).manifest.second_reader == manifest.second_reader


def test_a_model_without_a_negative_label_has_no_negatives(samples: list[Sample], tmp_path: Path) -> None:
    first = one_reader(tmp_path / "first", negative_label=None)
    second = as_second(tmp_path / "second", id="other", negative_label=None)
    with pytest.raises(UsageError, match="no negatives to read twice") as caught:
        pair(Pairing(first, second, samples, tmp_path / "new", negatives=True))
    assert "--negatives" in str(caught.value.remedy)


def test_the_second_reader_that_is_there_may_be_asked_in_another_way(
    made: Path, samples: list[Sample], tmp_path: Path
) -> None:
    data, out = tmp_path / "ours.csv", tmp_path / "new"
    write_samples(data, samples)
    options = ["--splits", str(data), "-o", str(out), "--share", "0.25", "--negatives", "--model-version", "3"]
    assert run(["pair", str(made), *options]) == 0
    before, after = bundles.open_bundle(made), bundles.open_bundle(out)
    assert bundles.files_of(after.manifest) == bundles.files_of(before.manifest)
    assert all(after.read(entry) == before.read(entry) for entry in bundles.files_of(after.manifest))
    old, new = before.manifest.second_reader, after.manifest.second_reader
    assert old is not None
    assert new is not None
    assert (new.id, new.version, new.negatives) == (old.id, old.version, True)
    assert new.margin < old.margin
    again = tmp_path / "again"
    assert run(["pair", str(out), "--splits", str(data), "-o", str(out)]) == 0
    assert run(["pair", str(out), "--splits", str(data), "-o", str(again), "--no-negatives"]) == 0
    found = [bundles.open_bundle(folder).manifest.second_reader for folder in (out, again)]
    assert [one is not None and one.negatives for one in found] == [True, False]
    kept = "second_reader_training_data_sha256"
    assert after.manifest.provenance[kept] == before.manifest.provenance[kept]


def test_without_a_second_bundle_there_must_be_a_second_reader(
    first: Path, samples: list[Sample], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="has no second reader") as caught:
        pair(Pairing(first, None, samples, tmp_path / "new"))
    assert "edgebrain pair FIRST SECOND" in str(caught.value.remedy)


def test_a_second_reader_is_replaced_in_place(made: Path, samples: list[Sample], tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "pair")
    newer = as_second(tmp_path / "newer", id="newer", version="8")
    pair(Pairing(tmp_path / "pair", newer, samples, tmp_path / "pair", SHARE))
    manifest = bundles.open_bundle(tmp_path / "pair").manifest
    assert manifest.second_reader is not None
    assert manifest.second_reader.id == "newer"
    assert manifest.version.endswith("+newer")


def test_the_limit_of_the_outlier_score_is_the_first_ones(made: Path, first: Path, samples: list[Sample]) -> None:
    again = made.parent / "again"
    recalibrate(Recalibration(first, samples, again))
    assert bundles.open_bundle(made).manifest.decision.max_outlier == (
        bundles.open_bundle(again).manifest.decision.max_outlier
    )


def test_neither_the_second_bundle_nor_the_same_network_will_do(
    first: Path, second: Path, samples: list[Sample], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="is the second bundle"):
        pair(Pairing(first, second, samples, second))
    with pytest.raises(UsageError, match="hold the same network"):
        pair(Pairing(first, first, samples, tmp_path / "new"))


def test_other_files_than_those_with_7_bit_weights_are_refused(
    first: Path, samples: list[Sample], tmp_path: Path
) -> None:
    other = as_second(tmp_path / "other", id="other")
    manifest = bundles.open_bundle(other).manifest
    (file,) = manifest.artifacts
    plain = msgspec.structs.replace(file, layout="u8s8")
    bundles.write_manifest(other, msgspec.structs.replace(manifest, artifacts=(plain,)))
    with pytest.raises(UsageError, match="no INT8 file with 7-bit weights") as caught:
        pair(Pairing(first, other, samples, tmp_path / "new"))
    assert "--reduce-range" in str(caught.value)


def test_what_is_made_of_a_pair(made: Path, samples: list[Sample], tmp_path: Path) -> None:
    bundle = bundles.open_bundle(made)
    exported = reexport(ReexportRequest(bundle, tmp_path / "more", targets((), ())))
    assert bundles.open_bundle(exported.folder).manifest.second_reader == bundle.manifest.second_reader
    assert bundles.open_bundle(exported.folder).read(bundle.manifest.second_reader.artifact)  # type: ignore[union-attr] # it has one
    scans = [replace(s, split="") for s in samples if s.split == "train"]
    assert restore(bundle, scans, tmp_path / "model.safetensors").largest_difference < 1e-3


@pytest.mark.parametrize(
    ("changes", "name"), [({"negative_label": None}, "labels"), ({"input": InputSpec(width=64, height=64)}, "input")]
)
def test_models_that_read_otherwise_are_no_pair(
    first: Path, samples: list[Sample], tmp_path: Path, changes: dict[str, Any], name: str
) -> None:
    other = as_second(tmp_path / "other", id="other", **changes)
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


def test_what_is_left_to_the_second_changes_no_number_of_doubt() -> None:
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 4, 400)
    first, second = ((np.eye(4)[targets] * 4 + rng.normal(0, 2, (400, 4))).astype(np.float32) for _ in range(2))
    pictures = (rng.normal(0, 1, (50, 4)) + 6 * np.eye(4)[2]).astype(np.float32)  # all called negative, few in doubt
    usual, left = (fit_reader(first, second, targets, pictures, 0.2, negative) for negative in (None, 2))
    assert replace(left, asked=usual.asked, right_together=usual.right_together, negatives=False) == usual
    assert left.negatives
    theirs = first.argmax(1) == 2
    doubtful = in_doubt(first, left.margin)
    mean = (1 - left.weight) * first + left.weight * second
    answers = np.where(doubtful[:, np.newaxis], mean, np.where(theirs[:, np.newaxis], second, first))
    assert left.asked == (theirs | doubtful).sum() > doubtful.sum() == usual.asked
    assert left.right_together == (answers.argmax(1) == targets).sum()


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
    other = as_second(tmp_path / "other", id="other", graph=graph, decision=decision)
    with pytest.raises(UsageError, match="other has no outlier output"):
        pair(Pairing(first, other, samples, tmp_path / "new"))
