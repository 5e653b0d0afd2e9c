"""What a good bundle gives, and the names it is asked for by."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgebrain import bundle as bundles
from edgebrain.bundle import MANIFEST, SCHEMA_VERSION, GraphSpec, Manifest, open_bundle, write_manifest
from edgebrain.decision import DecisionSpec
from edgebrain.errors import BundleError, HashMismatch, InvalidManifest, UnsupportedSchema, UsageError

Tree = dict[str, Any]
Edit = Callable[[Path, Callable[[Tree], object]], None]
MakeManifest = Callable[..., Manifest]


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


def test_a_linked_bundle_folder_is_the_users_own_choice(
    bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    link = tmp_path_factory.mktemp("links") / "model"
    link.symlink_to(bundle_folder)
    assert open_bundle(link).manifest.id == "tiny"


def test_built_in_names_come_first(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, edit_manifest: Edit
) -> None:
    built_in = tmp_path / "built-in"
    shutil.copytree(bundle_folder, built_in / "edge", ignore=shutil.ignore_patterns("built-in"))
    edit_manifest(built_in / "edge", lambda tree: tree.update(id="built-in"))
    elsewhere = tmp_path / "work" / "edge"
    elsewhere.mkdir(parents=True)
    shutil.copy(bundle_folder / MANIFEST, elsewhere)
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


@pytest.mark.skipif("edge" not in bundles.built_in_models(), reason="the bundle 'edge' is not in this checkout")
def test_the_shipped_bundle_opens() -> None:
    assert open_bundle("edge").manifest.schema_version == SCHEMA_VERSION


def test_an_outlier_output_is_read_back(tmp_path: Path, make_manifest: MakeManifest) -> None:
    manifest = make_manifest(graph=GraphSpec(outlier="outlier"), decision=DecisionSpec(max_outlier=0.25))
    write_manifest(tmp_path, manifest)
    assert open_bundle(tmp_path).manifest == manifest


def test_an_engine_of_a_later_edgebrain_is_no_reason_to_refuse(bundle_folder: Path, edit_manifest: Edit) -> None:
    edit_manifest(bundle_folder, lambda tree: tree["artifacts"][0].update(engine="tomorrow"))
    assert len(open_bundle(bundle_folder).artifacts("tomorrow")) == 1


def test_every_refusal_of_a_bundle_is_a_bundle_error() -> None:
    assert all(issubclass(kind, BundleError) for kind in (InvalidManifest, HashMismatch, UnsupportedSchema))
