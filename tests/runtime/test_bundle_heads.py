"""What a manifest may say of heads, and what it may not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgebrain.bundle import MANIFEST, GraphSpec, HeadSpec, Manifest, open_bundle, write_manifest
from edgebrain.errors import InvalidManifest

MakeManifest = Callable[..., Manifest]


@pytest.mark.parametrize("key", ["heads", "head"])
def test_a_manifest_of_version_2_cannot_have_heads(tmp_path: Path, make_manifest: MakeManifest, key: str) -> None:
    folder = tmp_path
    write_manifest(folder, make_manifest())
    tree = json.loads((folder / MANIFEST).read_text()) | {"schema_version": 2}
    del tree["head" if key == "heads" else "heads"], tree["second_reader"]
    (folder / MANIFEST).write_text(json.dumps(tree))
    with pytest.raises(InvalidManifest, match="does not follow its schema version 2"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"graph": GraphSpec()}, "embedding"),
        ({"head": {"labels": ("a", "b")}}, "the head's labels"),
        ({"heads": ({}, {})}, "names of their own"),
        ({"heads": ({"lr": 0.0},)}, "out of range"),
        ({"heads": ({"steps": 10**9},)}, "out of range"),
        ({"heads": ({"labels": ("a", "a")},)}, "out of range"),
        ({"heads": ({"file": "../head.npz"},)}, "leaves the bundle"),
    ],
)
def test_impossible_heads_are_refused(
    tmp_path: Path, make_manifest: MakeManifest, changes: dict[str, Any], match: str
) -> None:
    def spec(values: dict[str, Any]) -> HeadSpec:
        fields = {"name": "h", "labels": ("a", "b"), "negative_label": None, "lr": 1.0, "steps": 5, "file": "h.npz"}
        return HeadSpec(**{**fields, "sha256": "0" * 64, "bytes": 1, **values})

    made = {key: tuple(map(spec, value)) if key == "heads" else value for key, value in changes.items()}
    if "head" in made:
        made["head"] = spec(changes["head"])
    with pytest.raises(InvalidManifest, match=match):
        write_manifest(tmp_path, make_manifest(**{"heads": (spec({}),), **made}))
