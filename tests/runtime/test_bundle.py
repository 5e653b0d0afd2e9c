from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgebrain import bundle as bundles
from edgebrain import manifest as manifests
from edgebrain.bundle import (
    MANIFEST,
    SCHEMA_VERSION,
    Artifact,
    GraphSpec,
    HashedFile,
    Manifest,
    describe_file,
    open_bundle,
    write_manifest,
)
from edgebrain.decision import DecisionSpec
from edgebrain.errors import BundleError, HashMismatch, InvalidManifest, UnsupportedSchema, UsageError
from edgebrain.manifest import migrate
from edgebrain.migrations import MIGRATIONS
from edgebrain.types import PREPROCESSING_VERSION, InputSpec, Precision

Tree = dict[str, Any]
MakeManifest = Callable[..., Manifest]
WriteBundle = Callable[..., Path]
NO_ONNX = "the extra 'export' brings the onnx package"


@pytest.fixture
def folder(tmp_path: Path, make_manifest: MakeManifest) -> Path:
    """A bundle whose only other file, a golden one, needs no engine."""
    (tmp_path / "golden.bin").write_bytes(b"golden" * 100)
    write_manifest(tmp_path, make_manifest(golden=describe_file(tmp_path / "golden.bin")))
    return tmp_path


def edit(folder: Path, change: Callable[[Tree], object]) -> None:
    tree = json.loads((folder / MANIFEST).read_text())
    change(tree)
    (folder / MANIFEST).write_text(json.dumps(tree))


def golden_of(folder: Path) -> HashedFile:
    entry = open_bundle(folder).manifest.golden
    assert entry is not None
    return entry


# What a good bundle gives


def test_what_was_written_is_read_back(tmp_path: Path, make_manifest: MakeManifest) -> None:
    manifest = make_manifest(metrics={"fp32": {"accuracy": 0.9}}, provenance={"seed": 3})
    write_manifest(tmp_path, manifest)
    assert open_bundle(tmp_path).manifest == manifest
    assert open_bundle(str(tmp_path)).manifest == manifest
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]


def test_a_real_bundle_hands_out_its_verified_graph(tiny_bundle: Path, tiny_graph: bytes) -> None:
    opened = open_bundle(tiny_bundle)
    (artifact,) = opened.artifacts("onnxruntime")
    assert opened.read(artifact) == tiny_graph
    assert opened.artifacts("tensorrt") == []


def test_a_linked_bundle_folder_is_the_users_own_choice(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    link = tmp_path_factory.mktemp("links") / "model"
    link.symlink_to(folder)
    assert open_bundle(link).manifest.id == "tiny"


def test_built_in_names_come_first(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built_in = tmp_path / "built-in"
    shutil.copytree(folder, built_in / "edge", ignore=shutil.ignore_patterns("built-in"))
    edit(built_in / "edge", lambda tree: tree.update(id="built-in"))
    elsewhere = tmp_path / "work" / "edge"
    elsewhere.mkdir(parents=True)
    shutil.copy(folder / MANIFEST, elsewhere)
    monkeypatch.setattr(bundles, "BUILT_IN", built_in)
    monkeypatch.chdir(elsewhere.parent)
    assert bundles.built_in_models() == ["edge"]
    assert open_bundle("edge").manifest.id == "built-in"
    assert open_bundle("./edge").manifest.id == "tiny"
    assert open_bundle(Path("edge")).manifest.id == "tiny"
    with pytest.raises(UsageError, match=r"no model 'egde'.*Built in: edge"):
        open_bundle("egde")


@pytest.mark.parametrize("name", ["no-such-model", "no/such/folder", "/dev/null", "../nowhere"])
def test_a_model_that_does_not_exist(name: str) -> None:
    with pytest.raises(UsageError):
        open_bundle(name)


# Manifests


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"\x80",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"{}",
        b'{"schema_version": "1"}',
        b'{"schema_version": null}',
        b'{"schema_version": true}',
        b'{"schema_version": 1}',
        b"[" * 200_000,
        b'{"schema_version": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda data: data[:24].decode("latin-1"),
)
def test_what_is_no_manifest(tmp_path: Path, data: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(data)
    with pytest.raises(InvalidManifest) as caught:
        open_bundle(tmp_path)
    assert str(tmp_path / MANIFEST) in caught.value.message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_random_manifests_are_refused_and_nothing_else(tmp_path: Path, data: bytes | str) -> None:
    (tmp_path / MANIFEST).write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(InvalidManifest):
        open_bundle(tmp_path)


def test_a_folder_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match=r"manifest\.json cannot be read: No such file"):
        open_bundle(tmp_path)


@pytest.mark.parametrize("key", [f.name for f in msgspec.structs.fields(Manifest) if f.required])
def test_a_missing_key_is_named(folder: Path, key: str) -> None:
    edit(folder, lambda tree: tree.pop(key))
    with pytest.raises(InvalidManifest, match=key):
        open_bundle(folder)


@pytest.mark.parametrize("key", [f.name for f in msgspec.structs.fields(Manifest)])
def test_a_wrong_type_is_refused(folder: Path, key: str) -> None:
    edit(folder, lambda tree: tree.update({key: 1.5}))
    with pytest.raises(InvalidManifest):
        open_bundle(folder)


@pytest.mark.parametrize("place", ["", "input", "graph", "decision", "artifacts", "golden"])
def test_an_unknown_key_is_refused_wherever_it_is(folder: Path, place: str) -> None:
    def add(tree: Tree) -> None:
        target: Any = tree[place] if place else tree
        (target[0] if place == "artifacts" else target)["tempreature"] = 1

    edit(folder, add)
    with pytest.raises(InvalidManifest, match=r"unknown field.*tempreature"):
        open_bundle(folder)


ONE = Artifact("m.onnx", "onnxruntime", Precision.FP32, "0" * 64, 1)
IMPOSSIBLE: dict[str, Tree] = {
    "one label": {"labels": ("no_tumor",)},
    "same labels": {"labels": ("no_tumor", "no_tumor")},
    "empty label": {"labels": ("no_tumor", "")},
    "label with an escape": {"labels": ("no_tumor", "\x1b[31mred")},
    "label that is no text": {"labels": ("no_tumor", "\ud800")},
    "negative label": {"negative_label": "healthy"},
    "id": {"id": ""},
    "version": {"version": "1\n2"},
    "no artifact": {"artifacts": ()},
    "temperature 0": {"decision": DecisionSpec(temperature=0)},
    "temperature nan": {"decision": DecisionSpec(temperature=float("nan"))},
    "temperature inf": {"decision": DecisionSpec(temperature=float("inf"))},
    "thresholds crossed": {"decision": DecisionSpec(standard_below=0.6, operating_point=0.5)},
    "threshold above 1": {"decision": DecisionSpec(operating_point=1.1)},
    "threshold nan": {"decision": DecisionSpec(standard_below=float("nan"))},
    "confidence nan": {"decision": DecisionSpec(min_confidence=float("nan"))},
    "confidence above 1": {"decision": DecisionSpec(min_confidence=1.5)},
    "colour nan": {"decision": DecisionSpec(max_color_fraction=float("nan"))},
    "width": {"input": InputSpec(width=15)},
    "height": {"input": InputSpec(height=4097)},
    "percentiles": {"input": InputSpec(low_percentile=50, high_percentile=50)},
    "percentile nan": {"input": InputSpec(low_percentile=float("nan"))},
    "percentile above 100": {"input": InputSpec(high_percentile=100.5)},
    **{
        f"file {name!r}": {"artifacts": (ONE, msgspec.structs.replace(ONE, file=name))}
        for name in ("", ".", "..", "../m.onnx", "/etc/passwd", "a/b", "a\\b", "m\0", "\ud800.onnx", "a\nb", MANIFEST)
    },
    "engine with an escape": {"artifacts": (msgspec.structs.replace(ONE, engine="\x1b[31m"),)},
    "golden outside": {"golden": HashedFile("../golden.npz", "0" * 64, 1)},
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_manifests_are_neither_read_nor_written(
    tmp_path: Path, make_manifest: MakeManifest, name: str
) -> None:
    manifest = make_manifest(**IMPOSSIBLE[name])
    with pytest.raises(InvalidManifest):
        write_manifest(tmp_path, manifest)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / MANIFEST).write_text(json.dumps(manifests.manifest_tree(manifest)))
    with pytest.raises(InvalidManifest):
        open_bundle(tmp_path)


# Schema versions


def test_a_newer_schema_is_refused_with_the_way_out(folder: Path) -> None:
    edit(folder, lambda tree: tree.update(schema_version=SCHEMA_VERSION + 1, something_new=1))
    with pytest.raises(UnsupportedSchema, match="pip install --upgrade") as caught:
        open_bundle(folder)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("version", [0, -1, -(10**12)])
def test_a_schema_that_never_was(folder: Path, version: int) -> None:
    edit(folder, lambda tree: tree.update(schema_version=version))
    with pytest.raises(UnsupportedSchema, match="never published"):
        open_bundle(folder)


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
    del tree["heads"], tree["head"], tree["second_reader"]


def test_a_manifest_of_version_1_has_no_outlier_output(folder: Path) -> None:
    before = open_bundle(folder).manifest
    edit(folder, as_version_1)
    assert open_bundle(folder).manifest == before
    assert before.schema_version == SCHEMA_VERSION
    assert (before.graph.outlier, before.decision.max_outlier) == (None, None)


@pytest.mark.parametrize(("part", "key", "value"), [("graph", "outlier", "x"), ("decision", "max_outlier", 0.5)])
def test_a_manifest_of_version_1_cannot_say_what_came_later(folder: Path, part: str, key: str, value: object) -> None:
    edit(folder, as_version_1)
    edit(folder, lambda tree: tree[part].update({key: value}))
    with pytest.raises(InvalidManifest, match="does not follow its schema version 1"):
        open_bundle(folder)


@pytest.mark.parametrize("part", ["graph", "decision"])
def test_a_manifest_of_version_1_without_a_part_is_invalid(folder: Path, part: str) -> None:
    edit(folder, as_version_1)
    edit(folder, lambda tree: tree.pop(part))
    with pytest.raises(InvalidManifest, match=part):
        open_bundle(folder)


def test_a_schema_version_is_a_number(folder: Path) -> None:
    edit(folder, as_version_1)
    edit(folder, lambda tree: tree.update(schema_version=True))
    with pytest.raises(InvalidManifest, match="has no schema_version"):
        open_bundle(folder)


@pytest.mark.skipif("edge" not in bundles.built_in_models(), reason="the bundle 'edge' is not in this checkout")
def test_the_shipped_bundle_opens() -> None:
    assert open_bundle("edge").manifest.schema_version == SCHEMA_VERSION


def test_an_outlier_output_is_read_back(tmp_path: Path, make_manifest: MakeManifest) -> None:
    manifest = make_manifest(graph=GraphSpec(outlier="outlier"), decision=DecisionSpec(max_outlier=0.25))
    write_manifest(tmp_path, manifest)
    assert open_bundle(tmp_path).manifest == manifest


@pytest.mark.parametrize("limit", [0.0, 1.0, -0.5, 2.0, float("nan"), float("inf")])
def test_a_limit_of_the_outlier_score_must_leave_both_sides_open(
    tmp_path: Path, make_manifest: MakeManifest, limit: float
) -> None:
    manifest = make_manifest(graph=GraphSpec(outlier="outlier"), decision=DecisionSpec(max_outlier=limit))
    with pytest.raises(InvalidManifest, match="max_outlier must lie between 0 and 1"):
        write_manifest(tmp_path, manifest)


def test_a_limit_needs_its_output(tmp_path: Path, make_manifest: MakeManifest) -> None:
    with pytest.raises(InvalidManifest, match=r"graph\.outlier does not name"):
        write_manifest(tmp_path, make_manifest(decision=DecisionSpec(max_outlier=0.5)))


@pytest.mark.parametrize("version", [PREPROCESSING_VERSION + 1, 0, -1])
def test_another_preprocessing_is_refused_when_the_bundle_opens(folder: Path, version: int) -> None:
    edit(folder, lambda tree: tree["input"].update(preprocessing=version))
    with pytest.raises(UnsupportedSchema, match=r"preprocessing version.*pip install --upgrade") as caught:
        open_bundle(folder)
    assert caught.value.exit_code == 4


def test_an_engine_of_a_later_edgebrain_is_no_reason_to_refuse(folder: Path) -> None:
    edit(folder, lambda tree: tree["artifacts"][0].update(engine="tomorrow"))
    assert len(open_bundle(folder).artifacts("tomorrow")) == 1


# Files


def test_a_manifest_too_large_is_not_read(folder: Path) -> None:
    os.truncate(folder / MANIFEST, bundles.MAX_TEXT_BYTES + 1)
    with pytest.raises(InvalidManifest, match=r"manifest\.json is not a regular file of at most 1 MiB"):
        open_bundle(folder)


def test_another_size_is_refused_before_anything_is_hashed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = golden_of(folder)
    with (folder / entry.file).open("ab") as file:
        file.write(b"more")
    monkeypatch.delattr(hashlib, "sha256")
    with pytest.raises(HashMismatch, match=rf"{entry.bytes + 4} bytes, expected {entry.bytes}"):
        open_bundle(folder).read(entry)


def test_a_card_is_text_without_control_characters(folder: Path) -> None:
    (folder / "MODEL_CARD.md").write_bytes(b"# Card\r\n\x1b[2Jgone \xff\n\nend")
    assert open_bundle(folder).read_card() == "# Card\n\\x1b[2Jgone \ufffd\n\nend\n"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda card: card.symlink_to(MANIFEST)])
def test_a_card_that_is_no_file_is_refused_without_waiting(folder: Path, make: Callable[[Path], None]) -> None:
    make(folder / "MODEL_CARD.md")
    with pytest.raises(InvalidManifest, match=r"MODEL_CARD\.md is (not a regular file|a symbolic link)"):
        open_bundle(folder).read_card()


def test_a_changed_file_is_refused(folder: Path) -> None:
    entry = golden_of(folder)
    data = bytearray((folder / entry.file).read_bytes())
    data[50] ^= 1
    (folder / entry.file).write_bytes(data)
    with pytest.raises(HashMismatch, match=r"golden\.bin is not the file") as caught:
        open_bundle(folder).read(entry)
    assert caught.value.exit_code == 4


def test_a_missing_file(folder: Path) -> None:
    (folder / "golden.bin").unlink()
    with pytest.raises(InvalidManifest, match="cannot be read: No such file"):
        open_bundle(folder).read(golden_of(folder))


@pytest.mark.parametrize("name", ["golden.bin", MANIFEST])
def test_a_linked_file_is_refused(folder: Path, name: str) -> None:
    entry = golden_of(folder)
    (folder / name).rename(folder / "elsewhere")
    (folder / name).symlink_to("elsewhere")
    with pytest.raises(InvalidManifest, match="is a symbolic link"):
        open_bundle(folder).read(entry)


@pytest.mark.parametrize("name", ["golden.bin", MANIFEST])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_refused_without_waiting(folder: Path, name: str, make: Callable[[Path], None]) -> None:
    entry = golden_of(folder)
    (folder / name).unlink()
    make(folder / name)
    before = open_handles()
    with pytest.raises(InvalidManifest, match="not a regular file"):
        open_bundle(folder).read(entry)
    assert open_handles() == before


def open_handles() -> int:
    kernel = Path("/proc/self/fd")
    return len(list(kernel.iterdir())) if kernel.is_dir() else 0


@pytest.mark.parametrize("name", ["model.onnx", "MODEL.ONNX", "model.bin"])
def test_a_graph_with_external_data_is_refused_whatever_it_is_called(
    tmp_path: Path, tiny_graph: bytes, make_manifest: MakeManifest, name: str
) -> None:
    onnx = pytest.importorskip("onnx", reason=NO_ONNX)
    path = tmp_path / name
    onnx.save_model(
        onnx.load_from_string(tiny_graph), path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    file = describe_file(path)
    artifact = Artifact(file.file, "onnxruntime", Precision.FP32, file.sha256, file.bytes)
    write_manifest(tmp_path, make_manifest(artifacts=(artifact,)))
    with pytest.raises(InvalidManifest, match="external data"):
        open_bundle(tmp_path).read(artifact)


def test_rewriting_leaves_no_half_a_manifest(folder: Path, make_manifest: MakeManifest) -> None:
    before = (folder / MANIFEST).read_bytes()
    with pytest.raises(InvalidManifest):
        write_manifest(folder, make_manifest(artifacts=()))
    assert (folder / MANIFEST).read_bytes() == before
    write_manifest(folder, make_manifest(input=replace(InputSpec(), width=64)))
    assert open_bundle(folder).manifest.input.width == 64
    assert sorted(path.name for path in folder.iterdir()) == ["golden.bin", MANIFEST]


def test_every_refusal_of_a_bundle_is_a_bundle_error() -> None:
    assert all(issubclass(kind, BundleError) for kind in (InvalidManifest, HashMismatch, UnsupportedSchema))


def test_a_manifest_always_says_how_scans_are_prepared(folder: Path) -> None:
    stored = json.loads((folder / MANIFEST).read_text())
    read = manifests.parse_manifest(manifests.migrate(stored, folder), folder)
    assert manifests.manifest_tree(read)["input"]["preprocessing"] == read.input.preprocessing
    del stored["input"]["preprocessing"]
    with pytest.raises(InvalidManifest, match="which version of the preprocessing"):
        manifests.parse_manifest(stored, folder)


def test_models_of_schema_1_were_trained_with_preprocessing_1(folder: Path) -> None:
    stored = json.loads((folder / MANIFEST).read_text())
    for part, name in (("graph", "outlier"), ("decision", "max_outlier"), ("input", "preprocessing")):
        stored[part].pop(name, None)
    del stored["heads"], stored["head"], stored["second_reader"]
    read = manifests.parse_manifest(manifests.migrate({**stored, "schema_version": 1}, folder), folder)
    assert read.input.preprocessing == 1


def test_a_limit_that_was_lost_does_not_pass_for_none(folder: Path) -> None:
    stored = json.loads((folder / MANIFEST).read_text())
    stored = manifests.migrate(stored, folder)
    del stored["decision"]["max_outlier"]
    with pytest.raises(InvalidManifest, match="does not say max_outlier"):
        manifests.parse_manifest(stored, folder)
