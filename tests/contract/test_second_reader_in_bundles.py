"""A bundle with a second reader opens, answers, verifies and is diagnosed as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest

from edgebrain import doctor
from edgebrain.bundle import (
    MANIFEST,
    GraphSpec,
    SecondReader,
    describe_file,
    files_of,
    open_bundle,
    write_manifest,
)
from edgebrain.classifier import READ_TWICE, Classifier
from edgebrain.cli.run_inspect import verify_model
from edgebrain.cpus import usable_cpus
from edgebrain.device import request_of
from edgebrain.engines import ENGINES, EngineOptions, open_engine, unavailable_because
from edgebrain.errors import EngineFailed, HashMismatch, InvalidManifest
from edgebrain.manifest import migrate
from edgebrain.place import check_output
from edgebrain.seal import SEAL, answer_sha256
from edgebrain.selftest import Golden, write_golden
from edgebrain.types import Float32, Image8, ModelRef

BuildGraph = Callable[..., bytes]
WriteBundle = Callable[..., Path]
RNG = np.random.default_rng(11)
IMAGES: Image8 = RNG.integers(0, 256, (12, 1, 32, 32), dtype=np.uint8)


@pytest.fixture
def pair(tmp_path: Path, build_graph: BuildGraph, write_bundle: WriteBundle) -> Path:
    """A small model whose second reader is the same graph, so that a mean of both is what one says."""
    graph = build_graph()
    folder = write_bundle(tmp_path / "pair", graph)
    (folder / "second.onnx").write_bytes(graph)
    manifest = open_bundle(folder).manifest
    artifact = msgspec.structs.replace(manifest.artifacts[0], file="second.onnx")
    # Half of the images are in doubt by this.
    logits = run(folder, alone=True)["logits"]
    ordered = np.sort(logits, axis=1)
    margin = float(np.median(ordered[:, -1] - ordered[:, -2]))
    second = SecondReader(
        id="other",
        version="1",
        artifact=artifact,
        graph=manifest.graph,
        margin=margin,
        weight=0.5,
        outlier_shift=0.25,
    )
    write_manifest(folder, msgspec.structs.replace(manifest, second_reader=second))
    return folder


def run(folder: Path, *, alone: bool = False, images: Image8 = IMAGES) -> dict[str, Float32]:
    bundle = open_bundle(folder).first_alone() if alone else open_bundle(folder)
    with closing(open_engine(bundle, bundle.manifest.artifacts[0], EngineOptions())) as engine:
        return engine.run(images)


def of_graph(graph: bytes, images: Image8) -> Float32:
    """Logits of a bare graph."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {"image": images})[0], np.float32)


def rewritten(folder: Path, **changes: object) -> None:
    manifest = open_bundle(folder).manifest
    assert manifest.second_reader is not None
    second = msgspec.structs.replace(manifest.second_reader, **changes)
    write_manifest(folder, msgspec.structs.replace(manifest, second_reader=second))


def test_a_bundle_opens_with_both(pair: Path) -> None:
    together, alone = run(pair), run(pair, alone=True)
    assert together["readers"].tolist().count(2) == len(IMAGES) // 2
    assert "readers" not in alone
    assert together["logits"] == pytest.approx(alone["logits"], abs=1e-5)


def test_a_bundle_may_leave_its_negatives_to_the_second(pair: Path, build_graph: BuildGraph) -> None:
    # Another second network, and images that get every label.
    graph = build_graph(seed=6)
    (pair / "second.onnx").write_bytes(graph)
    facts = describe_file(pair / "second.onnx")
    second = open_bundle(pair).manifest.second_reader
    assert second is not None
    artifact = msgspec.structs.replace(second.artifact, sha256=facts.sha256, bytes=facts.bytes)
    rewritten(pair, margin=1e-6, negatives=True, artifact=artifact)
    manifest = open_bundle(pair).manifest
    images = np.kron(RNG.integers(0, 256, (40, 1, 4, 4)), np.ones((8, 8))).astype(np.uint8)
    first, other = (run(pair, alone=True, images=images)["logits"], of_graph(graph, images))
    called_so, denied = [], 0
    for index, label in enumerate(manifest.labels):
        write_manifest(pair, msgspec.structs.replace(manifest, negative_label=label))
        found = run(pair, images=images)
        negative = first.argmax(axis=1) == index
        called_so.append(int(negative.sum()))
        assert found["readers"].tolist() == (1 + negative).tolist()
        assert found["logits"] == pytest.approx(np.where(negative[:, np.newaxis], other, first), abs=1e-5)
        assert found["contradicted"].tolist() == (negative & (other.argmax(axis=1) != index)).tolist()
        denied += int(found["contradicted"].sum())
    assert sum(0 < count < len(images) for count in called_so) > 1
    assert 0 < denied < len(images)


def test_without_a_negative_label_there_are_no_negatives_to_leave(pair: Path) -> None:
    manifest = open_bundle(pair).manifest
    write_manifest(pair, msgspec.structs.replace(manifest, negative_label=None))
    with pytest.raises(InvalidManifest, match="no label is the negative one"):
        rewritten(pair, negatives=True)


def test_who_was_read_twice_is_said(pair: Path) -> None:
    rewritten(pair, margin=1e4)
    classifier = Classifier.load(pair, engine="onnxruntime")
    twice = classifier.classify(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
    classifier.close()
    rewritten(pair, margin=1e-6)
    classifier = Classifier.load(pair, engine="onnxruntime")
    once = classifier.classify(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
    classifier.close()
    assert twice.reasons == (*once.reasons, READ_TWICE)


def test_what_was_verified_is_what_is_opened(pair: Path) -> None:
    rewritten(pair, margin=1e4)
    classifier = Classifier.load(pair, engine="onnxruntime")
    (pair / "second.onnx").unlink()
    assert READ_TWICE in classifier.classify(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)).reasons
    classifier.close()


def test_for_many_scans_it_is_opened_before_the_first(pair: Path) -> None:
    second = open_bundle(pair).manifest.second_reader
    assert second is not None
    rewritten(pair, graph=msgspec.structs.replace(second.graph, logits="nope"))
    Classifier.load(pair, engine="onnxruntime").close()
    if usable_cpus() > 1:
        with pytest.raises(EngineFailed, match=r"second\.onnx has no output nope"):
            Classifier.load(pair, engine="onnxruntime", throughput=True)


def test_another_second_reader_is_another_model(pair: Path) -> None:
    def model(*, second_reader: bool) -> ModelRef:
        with closing(Classifier.load(pair, engine="onnxruntime", second_reader=second_reader)) as classifier:
            return classifier.model

    alone, before = model(second_reader=False), model(second_reader=True)
    assert alone.sha256 != before.sha256
    rewritten(pair, weight=0.75)
    assert model(second_reader=False) == alone
    assert model(second_reader=True) != before


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_whatever_engine_runs_the_first_the_second_is_asked(pair: Path, engine: str) -> None:
    reason = unavailable_because(ENGINES[engine])
    if reason is not None:
        pytest.skip(f"{engine}: {reason}")
    bundle = open_bundle(pair)
    with closing(open_engine(bundle, bundle.manifest.artifacts[0], EngineOptions(), engine)) as opened:
        assert opened.info.name == engine
        together = opened.run(IMAGES)
    assert together["readers"].tolist().count(2) == len(IMAGES) // 2
    assert together["logits"] == pytest.approx(run(pair)["logits"], abs=1e-2)


def test_a_pair_may_be_replaced_as_a_whole(pair: Path) -> None:
    (pair / "second.golden.npz").write_bytes(write_golden(Golden(IMAGES, {})))
    rewritten(pair, golden=describe_file(pair / "second.golden.npz"))
    check_output(pair)


def test_the_list_of_models_counts_both_files(pair: Path) -> None:
    named = {entry.file for entry in files_of(open_bundle(pair).manifest)}
    assert {"model.onnx", "second.onnx"} <= named
    assert verify_model(str(pair)) == 0


def test_a_changed_file_is_found_before_any_scan_is_read(pair: Path) -> None:
    data = bytearray((pair / "second.onnx").read_bytes())
    data[-1] ^= 1
    (pair / "second.onnx").write_bytes(bytes(data))
    with pytest.raises(HashMismatch, match=r"second\.onnx"):
        Classifier.load(pair, engine="onnxruntime")


@pytest.mark.parametrize(
    "changes",
    [
        *({"margin": value} for value in (0.0, 1e-300, 1e300, float("inf"), float("nan"))),
        *({"weight": value} for value in (0.0, 1e-300, 1.5, float("nan"))),
        *({"outlier_shift": value} for value in (-1.0, 1e300, float("nan"))),
        {"id": "a\nb"},
    ],
)
def test_an_impossible_second_reader_is_refused(pair: Path, changes: dict[str, object]) -> None:
    with pytest.raises(InvalidManifest, match=r"second_reader|printed"):
        rewritten(pair, **changes)


def test_both_have_an_outlier_output_or_none(pair: Path) -> None:
    with pytest.raises(InvalidManifest, match="have an outlier output both, or neither"):
        rewritten(pair, graph=GraphSpec(outlier="outlier"))


@pytest.mark.parametrize("name", ["../second.onnx", ".", "a/b.onnx", "second\x1b[2J.onnx"])
def test_its_file_lies_in_the_folder_and_can_be_printed(pair: Path, name: str) -> None:
    second = open_bundle(pair).manifest.second_reader
    assert second is not None
    with pytest.raises(InvalidManifest, match=r"leaves the bundle|printed"):
        rewritten(pair, artifact=msgspec.structs.replace(second.artifact, file=name))


def test_two_files_of_one_name_are_refused(pair: Path) -> None:
    second = open_bundle(pair).manifest.second_reader
    assert second is not None
    with pytest.raises(InvalidManifest, match="a file of another's name"):
        rewritten(pair, artifact=msgspec.structs.replace(second.artifact, file="model.onnx"))


def test_an_older_model_keeps_its_hash_in_records(pair: Path) -> None:
    """A run of many scans goes on with --resume after an upgrade; its rows name the model that answered."""
    tree = json.loads((pair / MANIFEST).read_text())
    before = answer_sha256(tree)
    del tree["second_reader"]["negatives"]
    assert answer_sha256(tree) == before
    tree["second_reader"]["negatives"] = True
    assert answer_sha256(tree) != before


def as_version_5(folder: Path, **changes: object) -> None:
    """Before negatives; what is changed after sealing breaks the seal."""
    tree = json.loads((folder / MANIFEST).read_text())
    del tree["second_reader"]["negatives"]
    tree["schema_version"] = 5
    tree[SEAL] = answer_sha256(tree)
    tree["second_reader"].update(changes)
    (folder / MANIFEST).write_text(json.dumps(tree))


def test_in_a_manifest_of_version_5_it_is_asked_for_doubt_alone(pair: Path) -> None:
    before = open_bundle(pair).manifest
    as_version_5(pair)
    assert open_bundle(pair).manifest == before
    tree = json.loads((pair / MANIFEST).read_text())
    assert migrate(tree, pair)["second_reader"]["negatives"] is False
    assert tree["schema_version"] == 5


def test_what_was_changed_by_hand_in_a_manifest_of_version_5_is_found(pair: Path) -> None:
    as_version_5(pair, weight=0.75)
    with pytest.raises(HashMismatch, match="was changed"):
        open_bundle(pair)


def test_a_manifest_of_version_5_cannot_say_more(pair: Path) -> None:
    as_version_5(pair, negatives=True)
    with pytest.raises(InvalidManifest, match="does not follow its schema version 5"):
        open_bundle(pair)


def test_a_manifest_of_version_3_cannot_have_one(pair: Path) -> None:
    tree = json.loads((pair / MANIFEST).read_text())
    del tree[SEAL]
    (pair / MANIFEST).write_text(json.dumps({**tree, "schema_version": 3}))
    with pytest.raises(InvalidManifest, match="does not follow its schema version 3"):
        open_bundle(pair)


def diagnosed(folder: Path, shift: float) -> doctor.Diagnosis:
    """Diagnose a pair whose golden outputs of the second reader lie ``shift`` beside what it computes."""
    logits = run(folder, alone=True)["logits"]
    beside = logits + np.array([shift, 0, 0, 0], np.float32)
    for name, values in (("golden.npz", logits), ("second.golden.npz", beside)):
        (folder / name).write_bytes(write_golden(Golden(IMAGES, {"fp32": values})))
    rewritten(folder, golden=describe_file(folder / "second.golden.npz"))
    bundle = open_bundle(folder)
    write_manifest(folder, msgspec.structs.replace(bundle.manifest, golden=describe_file(folder / "golden.npz")))
    return doctor.diagnose(open_bundle(folder), request_of("onnxruntime", None, None, None))


def test_the_doctor_tests_both_files_alone(pair: Path) -> None:
    diagnosis = diagnosed(pair, 0.0)
    tried = [(t.file, t.chosen, t.second_reader) for t in diagnosis.trials if t.name == "onnxruntime"]
    assert tried == [
        ("model.onnx", True, False),
        ("second.onnx", True, True),
    ]
    assert diagnosis.healthy
    assert diagnosis.advice is None


def test_advice_is_about_the_file_that_it_helps(pair: Path) -> None:
    diagnosis = diagnosed(pair, 0.0)
    first, second = (t for t in diagnosis.trials if t.name == "onnxruntime")
    assert first.test is not None
    broken = replace(first, test=replace(first.test, labels_agree=False, precision="int8"))
    only_second = replace(diagnosis, trials=(broken, second))
    assert only_second.advice is not None
    assert only_second.advice.endswith("do not use this model on this machine.")
    exact = replace(first, file="exact.onnx", chosen=False)
    assert str(replace(diagnosis, trials=(broken, exact, second)).advice).endswith("use --precision fp32.")


def test_a_second_reader_that_computes_otherwise_is_a_fault(pair: Path) -> None:
    diagnosis = diagnosed(pair, 5.0)
    assert not diagnosis.healthy
    assert diagnosis.advice == (
        "The chosen file second.onnx does not compute what its maker computed: do not use this model on this machine."
    )
