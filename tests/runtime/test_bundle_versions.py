"""Manifests of other versions of the schema, and of the preprocessing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgebrain import manifest as manifests
from edgebrain.bundle import MANIFEST, SCHEMA_VERSION, open_bundle
from edgebrain.errors import InvalidManifest, UnsupportedSchema
from edgebrain.manifest import migrate
from edgebrain.migrations import MIGRATIONS
from edgebrain.seal import SEAL
from edgebrain.types import PREPROCESSING_VERSION

Tree = dict[str, Any]
Edit = Callable[[Path, Callable[[Tree], object]], None]


def test_a_newer_schema_is_refused_with_the_way_out(bundle_folder: Path, edit_manifest: Edit) -> None:
    edit_manifest(bundle_folder, lambda tree: tree.update(schema_version=SCHEMA_VERSION + 1, something_new=1))
    with pytest.raises(UnsupportedSchema, match="Get a newer edgebrain") as caught:
        open_bundle(bundle_folder)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("version", [0, -1, -(10**12)])
def test_a_schema_that_never_was(bundle_folder: Path, edit_manifest: Edit, version: int) -> None:
    edit_manifest(bundle_folder, lambda tree: tree.update(schema_version=version))
    with pytest.raises(UnsupportedSchema, match="never published"):
        open_bundle(bundle_folder)


def test_a_schema_version_is_a_number(bundle_folder: Path, edit_manifest: Edit) -> None:
    edit_manifest(bundle_folder, as_version_1)
    edit_manifest(bundle_folder, lambda tree: tree.update(schema_version=True))
    with pytest.raises(InvalidManifest, match="has no schema_version"):
        open_bundle(bundle_folder)


def test_migrations_run_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "SCHEMA_VERSION", 4)

    def step(name: str) -> Callable[[Tree], Tree]:
        return lambda tree: {**tree, "steps": [*tree["steps"], name]}

    table = {3: step("3 to 4"), 1: step("1 to 2"), 2: step("2 to 3"), 7: step("never")}
    old = {"schema_version": 1, "steps": []}
    assert migrate(old, Path("m"), table) == {"schema_version": 4, "steps": ["1 to 2", "2 to 3", "3 to 4"]}
    late = migrate({"schema_version": 3, "steps": []}, Path("m"), table)
    assert late["steps"] == ["3 to 4"]
    assert migrate({"schema_version": 4, "steps": []}, Path("m"), table)["steps"] == []
    with pytest.raises(UnsupportedSchema):
        migrate({"schema_version": 0, "steps": []}, Path("m"), table)


def test_an_old_manifest_that_a_migration_cannot_follow_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "SCHEMA_VERSION", 2)
    with pytest.raises(InvalidManifest, match="schema version 1"):
        migrate({"schema_version": 1}, Path("m"), {1: lambda tree: {**tree, "id": tree["name"]}})


def test_the_current_schema_has_a_complete_table() -> None:
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


def as_version_1(tree: Tree) -> None:
    tree["schema_version"] = 1
    del tree["graph"]["outlier"], tree["decision"]["max_outlier"]
    del tree["heads"], tree["head"], tree["second_reader"], tree[SEAL]


def test_a_manifest_of_version_1_has_no_outlier_output(bundle_folder: Path, edit_manifest: Edit) -> None:
    before = open_bundle(bundle_folder).manifest
    edit_manifest(bundle_folder, as_version_1)
    assert open_bundle(bundle_folder).manifest == before
    assert before.schema_version == SCHEMA_VERSION
    assert (before.graph.outlier, before.decision.max_outlier) == (None, None)


@pytest.mark.parametrize(("part", "key", "value"), [("graph", "outlier", "x"), ("decision", "max_outlier", 0.5)])
def test_a_manifest_of_version_1_cannot_say_what_came_later(
    bundle_folder: Path, edit_manifest: Edit, part: str, key: str, value: object
) -> None:
    edit_manifest(bundle_folder, as_version_1)
    edit_manifest(bundle_folder, lambda tree: tree[part].update({key: value}))
    with pytest.raises(InvalidManifest, match="does not follow its schema version 1"):
        open_bundle(bundle_folder)


@pytest.mark.parametrize("part", ["graph", "decision"])
def test_a_manifest_of_version_1_without_a_part_is_invalid(bundle_folder: Path, edit_manifest: Edit, part: str) -> None:
    edit_manifest(bundle_folder, as_version_1)
    edit_manifest(bundle_folder, lambda tree: tree.pop(part))
    with pytest.raises(InvalidManifest, match=part):
        open_bundle(bundle_folder)


def test_models_of_schema_1_were_trained_with_preprocessing_1(bundle_folder: Path) -> None:
    stored = json.loads((bundle_folder / MANIFEST).read_text())
    for part, name in (("graph", "outlier"), ("decision", "max_outlier"), ("input", "preprocessing")):
        stored[part].pop(name, None)
    del stored["heads"], stored["head"], stored["second_reader"], stored[SEAL]
    read = manifests.parse_manifest(manifests.migrate({**stored, "schema_version": 1}, bundle_folder), bundle_folder)
    assert read.input.preprocessing == 1


@pytest.mark.parametrize("version", [PREPROCESSING_VERSION + 1, 0, -1])
def test_another_preprocessing_is_refused_when_the_bundle_opens(
    bundle_folder: Path, edit_manifest: Edit, version: int
) -> None:
    edit_manifest(bundle_folder, lambda tree: tree["input"].update(preprocessing=version))
    with pytest.raises(UnsupportedSchema, match=r"preprocessing version.*Get a newer edgebrain") as caught:
        open_bundle(bundle_folder)
    assert caught.value.exit_code == 4


def test_a_manifest_always_says_how_scans_are_prepared(bundle_folder: Path) -> None:
    stored = json.loads((bundle_folder / MANIFEST).read_text())
    read = manifests.parse_manifest(manifests.migrate(stored, bundle_folder), bundle_folder)
    assert manifests.manifest_tree(read)["input"]["preprocessing"] == read.input.preprocessing
    del stored["input"]["preprocessing"]
    with pytest.raises(InvalidManifest, match="which version of the preprocessing"):
        manifests.parse_manifest(stored, bundle_folder)


def test_a_limit_that_was_lost_does_not_pass_for_none(bundle_folder: Path) -> None:
    stored = json.loads((bundle_folder / MANIFEST).read_text())
    stored = manifests.migrate(stored, bundle_folder)
    del stored["decision"]["max_outlier"]
    with pytest.raises(InvalidManifest, match="does not say max_outlier"):
        manifests.parse_manifest(stored, bundle_folder)
