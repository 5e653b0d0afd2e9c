"""Manifests that are none, or that say what cannot be."""

from __future__ import annotations

import json
import os
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
from edgebrain.bundle import MANIFEST, Artifact, GraphSpec, HashedFile, Manifest, open_bundle, write_manifest
from edgebrain.decision import DecisionSpec
from edgebrain.errors import InvalidManifest
from edgebrain.types import InputSpec, Precision

Tree = dict[str, Any]
Edit = Callable[[Path, Callable[[Tree], object]], None]
MakeManifest = Callable[..., Manifest]


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


def test_a_manifest_too_large_is_not_read(bundle_folder: Path) -> None:
    os.truncate(bundle_folder / MANIFEST, bundles.MAX_TEXT_BYTES + 1)
    with pytest.raises(InvalidManifest, match=r"manifest\.json is not a regular file of at most 1 MiB"):
        open_bundle(bundle_folder)


@pytest.mark.parametrize("key", [f.name for f in msgspec.structs.fields(Manifest) if f.required])
def test_a_missing_key_is_named(bundle_folder: Path, edit_manifest: Edit, key: str) -> None:
    edit_manifest(bundle_folder, lambda tree: tree.pop(key))
    with pytest.raises(InvalidManifest, match=key):
        open_bundle(bundle_folder)


@pytest.mark.parametrize("key", [f.name for f in msgspec.structs.fields(Manifest)])
def test_a_wrong_type_is_refused(bundle_folder: Path, edit_manifest: Edit, key: str) -> None:
    edit_manifest(bundle_folder, lambda tree: tree.update({key: 1.5}))
    with pytest.raises(InvalidManifest):
        open_bundle(bundle_folder)


@pytest.mark.parametrize("place", ["", "input", "graph", "decision", "artifacts", "golden"])
def test_an_unknown_key_is_refused_wherever_it_is(bundle_folder: Path, edit_manifest: Edit, place: str) -> None:
    def add(tree: Tree) -> None:
        target: Any = tree[place] if place else tree
        (target[0] if place == "artifacts" else target)["tempreature"] = 1

    edit_manifest(bundle_folder, add)
    with pytest.raises(InvalidManifest, match=r"unknown field.*tempreature"):
        open_bundle(bundle_folder)


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


def test_rewriting_leaves_no_half_a_manifest(bundle_folder: Path, make_manifest: MakeManifest) -> None:
    before = (bundle_folder / MANIFEST).read_bytes()
    with pytest.raises(InvalidManifest):
        write_manifest(bundle_folder, make_manifest(artifacts=()))
    assert (bundle_folder / MANIFEST).read_bytes() == before
    write_manifest(bundle_folder, make_manifest(input=replace(InputSpec(), width=64)))
    assert open_bundle(bundle_folder).manifest.input.width == 64
    assert sorted(path.name for path in bundle_folder.iterdir()) == ["golden.bin", MANIFEST]
