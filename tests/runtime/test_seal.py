"""The hash over what decides an answer: no threshold changes unseen, and another threshold is another model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgebrain import Classifier
from edgebrain.bundle import MANIFEST, SCHEMA_VERSION, Manifest, manifest_tree, open_bundle, write_manifest
from edgebrain.errors import HashMismatch, InvalidManifest
from edgebrain.seal import SEAL, SEALED, answer_sha256

Tree = dict[str, Any]
Edit = Callable[..., None]
MakeManifest = Callable[..., Manifest]
MakeClassifier = Callable[..., Classifier]


def numbers_of_an_answer() -> list[tuple[str, str]]:
    tree = manifest_tree(open_bundle("edge").manifest)
    parts = ("input", "decision", "second_reader")
    return [(part, key) for part in parts for key, value in tree[part].items() if type(value) in (int, float, bool)]


@pytest.mark.parametrize(("part", "key"), numbers_of_an_answer())
def test_every_number_that_decides_an_answer_is_sealed(part: str, key: str) -> None:
    tree = manifest_tree(open_bundle("edge").manifest)
    before = answer_sha256(tree)
    tree[part][key] *= 1.0000001
    assert answer_sha256(tree) != before


def test_a_changed_threshold_is_refused_with_the_way_out(bundle_folder: Path, edit_manifest: Edit) -> None:
    edit_manifest(bundle_folder, lambda tree: tree["decision"].update(operating_point=0.71), seal=False)
    with pytest.raises(HashMismatch, match="was changed") as caught:
        open_bundle(bundle_folder)
    assert str(bundle_folder / MANIFEST) in caught.value.message
    assert "edgebrain recalibrate" in str(caught.value.remedy)
    assert caught.value.exit_code == 4


def test_the_order_of_labels_is_sealed(bundle_folder: Path, edit_manifest: Edit) -> None:
    edit_manifest(bundle_folder, lambda tree: tree["labels"].reverse(), seal=False)
    with pytest.raises(HashMismatch):
        open_bundle(bundle_folder)


def test_what_is_for_people_is_not_sealed(bundle_folder: Path, edit_manifest: Edit) -> None:
    edit_manifest(bundle_folder, lambda tree: tree.update(description="another one", metrics={}), seal=False)
    assert open_bundle(bundle_folder).manifest.description == "another one"


def test_a_manifest_of_today_must_be_sealed(bundle_folder: Path, edit_manifest: Edit) -> None:
    edit_manifest(bundle_folder, lambda tree: tree.pop(SEAL))
    with pytest.raises(InvalidManifest, match=f"does not say {SEAL}"):
        open_bundle(bundle_folder)


def test_older_manifests_are_believed_as_they_stand(bundle_folder: Path, edit_manifest: Edit) -> None:
    def older(tree: Tree) -> None:
        del tree[SEAL]
        tree["schema_version"] = 4
        tree["decision"]["operating_point"] = 0.71

    edit_manifest(bundle_folder, older)
    assert open_bundle(bundle_folder).manifest.decision.operating_point == 0.71


def test_older_manifests_have_no_seal(bundle_folder: Path, edit_manifest: Edit) -> None:
    edit_manifest(bundle_folder, lambda tree: tree.update(schema_version=4))
    with pytest.raises(InvalidManifest, match="does not follow its schema version 4"):
        open_bundle(bundle_folder)


def test_a_written_manifest_can_be_read(tmp_path: Path, make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    write_manifest(tmp_path, manifest)
    stored = json.loads((tmp_path / MANIFEST).read_text())
    assert stored["schema_version"] == SCHEMA_VERSION
    assert stored[SEAL] == answer_sha256(manifest_tree(manifest))
    assert set(SEALED) < set(stored)


def test_another_threshold_is_another_model_in_records(
    make_classifier: MakeClassifier, make_manifest: MakeManifest
) -> None:
    decision = make_manifest().decision
    usual, again = make_classifier().model, make_classifier().model
    other = make_classifier(decision=msgspec.structs.replace(decision, temperature=decision.temperature * 2)).model
    assert usual == again
    assert usual.sha256 != other.sha256
    assert (usual.id, usual.version) == (other.id, other.version)
