"""Bundles: the folder that holds a model and all there is to know about it.

``manifest.json`` says what the files beside it are. Hashes are checked over the bytes that are handed out, so nothing
can be swapped between check and use. A bundle holds no pickle, no link, no path that leaves the folder and no graph
that reads other files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from edgebrain.decision import DecisionSpec
from edgebrain.errors import HashMismatch, InvalidManifest, UnsupportedSchema, UsageError
from edgebrain.graphs import refers_to_other_files
from edgebrain.types import InputSpec, Precision

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
MAX_FILE_BYTES = 1 << 31
_SIDES = (16, 4096)  # pixels; what lies outside is a mistake, not a model
_ALL = 100  # per cent

Migration = Callable[[dict[str, Any]], dict[str, Any]]
MIGRATIONS: Mapping[int, Migration] = {}
"""Step that turns a manifest of version N into one of version N + 1, by N. Version 1 is the first."""

BUILT_IN = Path(__file__).parent / "bundles"


class GraphSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names of the graph's input and outputs; ``embedding`` and ``cam`` are absent where there are none."""

    input: str = "image"
    logits: str = "logits"
    embedding: str | None = None
    cam: str | None = None
    embedding_size: int = 0


class Artifact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file that an engine can run."""

    file: str
    engine: str
    precision: Precision
    sha256: str
    bytes: int


class HashedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Any other file of the bundle whose contents matter."""

    file: str
    sha256: str
    bytes: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that is known of a model; see docs/reference/bundle.md.

    Attributes:
        schema_version: Version of this layout.
        id: Name of the model.
        version: Version of the model.
        description: One line.
        labels: Labels in the order of the logits.
        negative_label: The label that means "no tumour", where the model has one.
        input: What the graph expects.
        graph: Names of input and outputs.
        decision: How logits become an answer.
        artifacts: Files that engines can run.
        golden: Inputs and expected outputs for the self-test.
        metrics: Per precision: figure name to value, interval and data set.
        provenance: Recipe, code version, data digest, seed.
        license: SPDX identifier.
        intended_use: What the model is for, and what not.
    """

    schema_version: int
    id: str
    version: str
    description: str
    labels: tuple[str, ...]
    negative_label: str | None
    input: InputSpec
    graph: GraphSpec
    decision: DecisionSpec
    artifacts: tuple[Artifact, ...]
    license: str
    intended_use: str
    golden: HashedFile | None = None
    metrics: dict[str, dict[str, Any]] = {}
    provenance: dict[str, Any] = {}


class Bundle:
    """An opened bundle. Files are read, and verified, when they are asked for.

    Args:
        folder: The bundle's folder.
        manifest: Its validated manifest.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    def artifacts(self, engine: str) -> list[Artifact]:
        """Files that an engine can run, in the order of the manifest."""
        return [a for a in self.manifest.artifacts if a.engine == engine]

    def read(self, entry: Artifact | HashedFile) -> bytes:
        """The verified bytes of one file.

        Raises:
            InvalidManifest: The file is missing, a link or not a regular file, or a graph that reads other files.
            HashMismatch: It is not the file that the manifest was written for.
        """
        data = _read_regular(self.folder / entry.file)
        digest = hashlib.sha256(data).hexdigest()
        if digest != entry.sha256:
            raise HashMismatch(
                f"{self.folder / entry.file} is not the file its manifest was written for"
                f" (sha256 {digest[:12]}..., expected {entry.sha256[:12]}...).",
                remedy="Install or copy the bundle again.",
            )
        if _is_onnx(entry) and refers_to_other_files(data):
            raise InvalidManifest(
                f"{self.folder / entry.file} keeps weights in another file (ONNX external data), which is not allowed.",
                remedy="Export the model into one file.",
            )
        return data


def _is_onnx(entry: Artifact | HashedFile) -> bool:
    # What an engine takes for ONNX counts, not only the name: it would read a graph called model.bin as well.
    return entry.file.lower().endswith(".onnx") or (isinstance(entry, Artifact) and entry.engine == "onnxruntime")


def open_bundle(model: str | os.PathLike[str]) -> Bundle:
    """Open a bundle.

    Args:
        model: Name of a bundle that comes with edgebrain, or a folder. A name means the built-in bundle even where
            the current folder holds something of that name; write ``./name`` for that.

    Raises:
        UsageError: There is no such model.
        InvalidManifest: The manifest is missing, is no JSON, or says something impossible.
        UnsupportedSchema: A newer edgebrain wrote it.
    """
    name = os.fspath(model)
    folder = Path(name)
    if isinstance(model, str) and name in built_in_models():
        folder = BUILT_IN / name
    elif os.sep not in name and not folder.is_dir():
        raise UsageError(
            f"There is no model {name!r}.",
            remedy=f"Built in: {', '.join(built_in_models()) or 'none'}; or give the folder of a bundle.",
        )
    if not folder.is_dir():
        raise UsageError(f"{name} is not a folder.", remedy="Give the folder that holds manifest.json.")
    return Bundle(folder, read_manifest(folder))


def built_in_models() -> list[str]:
    """Names of the bundles that come with edgebrain."""
    return sorted(p.name for p in BUILT_IN.iterdir() if (p / MANIFEST).is_file()) if BUILT_IN.is_dir() else []


def read_manifest(folder: Path) -> Manifest:
    """Read and validate a folder's manifest; see :func:`open_bundle` for what it raises."""
    path = folder / MANIFEST
    data = _read_regular(path)
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(tree, dict) or not isinstance(tree.get("schema_version"), int):
        raise InvalidManifest(f"{path} has no schema_version; it is not a manifest of edgebrain.")
    manifest = parse_manifest(migrate(tree, path), path)
    _check(manifest, path)
    return manifest


def migrate(tree: dict[str, Any], path: Path, migrations: Mapping[int, Migration] = MIGRATIONS) -> dict[str, Any]:
    """Bring a manifest up to the current schema.

    Raises:
        UnsupportedSchema: It is newer than this edgebrain, or too old to migrate.
    """
    version = int(tree["schema_version"])
    if version > SCHEMA_VERSION:
        raise UnsupportedSchema(
            f"{path} has schema version {version}; this edgebrain reads up to {SCHEMA_VERSION}.",
            remedy="Upgrade edgebrain: pip install --upgrade edgebrain",
        )
    while version < SCHEMA_VERSION:
        if version not in migrations:
            raise UnsupportedSchema(f"{path} has schema version {version}, which was never published.")
        try:
            tree = migrations[version](tree)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidManifest(f"{path} does not follow its schema version {version}: {error!r}.") from error
        version += 1
        tree["schema_version"] = version
    return tree


def parse_manifest(tree: dict[str, Any], path: Path) -> Manifest:
    """Validate types and keys.

    Raises:
        InvalidManifest: Something is missing, unknown or of a wrong type; the message says where.
    """
    try:
        manifest = msgspec.convert(tree, Manifest)
    except msgspec.ValidationError as error:
        raise InvalidManifest(f"{path}: {error}.") from error
    # msgspec refuses unknown keys of its own structs only.
    unknown = sorted(set(tree["input"]) - {field.name for field in dataclasses.fields(InputSpec)})
    if unknown:
        raise InvalidManifest(f"{path}: input has the unknown field {unknown[0]!r}.")
    return manifest


def _check(manifest: Manifest, path: Path) -> None:
    decision = manifest.decision
    entries: list[Artifact | HashedFile] = [*manifest.artifacts, *([manifest.golden] if manifest.golden else [])]
    labels, spec = manifest.labels, manifest.input
    faults = {
        "labels must be two or more, all different": len(set(labels)) != len(labels) or len(labels) <= 1,
        "negative_label is not one of the labels": manifest.negative_label not in (None, *labels),
        "there is no artifact": not manifest.artifacts,
        "decision.temperature must be above 0 and finite": not 0 < decision.temperature < float("inf"),
        "decision.min_confidence and max_color_fraction must lie between 0 and 1": not all(
            0 <= share <= 1 for share in (decision.min_confidence, decision.max_color_fraction)
        ),
        "id, version and labels must be text that can be printed": not all(
            text and text.isprintable() for text in (manifest.id, manifest.version, *labels)
        ),
        "a file name cannot be printed": not all(e.file.isprintable() for e in entries),
        # Above one half, a scan whose best label is a tumour could be left in its turn.
        "decision wants 0 <= standard_below <= 0.5, and standard_below <= operating_point <= 1": not (
            0 <= decision.standard_below <= min(0.5, decision.operating_point) and decision.operating_point <= 1
        ),
        f"input sides must lie in {_SIDES[0]}..{_SIDES[1]}": not (
            _SIDES[0] <= min(spec.width, spec.height) <= max(spec.width, spec.height) <= _SIDES[1]
        ),
        "input percentiles must be 0 <= low < high <= 100": not 0 <= spec.low_percentile < spec.high_percentile <= _ALL,
        "a file name leaves the bundle's folder": any(
            e.file in ("", ".", "..", MANIFEST) or set(e.file) & set("/\\\0") for e in entries
        ),
    }
    for what, wrong in faults.items():
        if wrong:
            raise InvalidManifest(f"{path}: {what}.")


def _read_regular(path: Path) -> bytes:
    # O_NOFOLLOW and fstat on the open file: a link or a FIFO is refused even if it is put there at this moment.
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = "is a symbolic link" if path.is_symlink() else f"cannot be read: {error.strerror}"
        raise InvalidManifest(f"{path} {reason}.", remedy="Install or copy the bundle again.") from error
    facts = os.fstat(handle)
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_FILE_BYTES:
        os.close(handle)
        raise InvalidManifest(f"{path} is not a regular file of at most {MAX_FILE_BYTES >> 20} MiB.")
    with os.fdopen(handle, "rb") as file:
        return file.read()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into a folder, under a temporary name first.

    Raises:
        InvalidManifest: The manifest says something impossible.
    """
    path = folder / MANIFEST
    _check(manifest, path)
    text = json.dumps(msgspec.to_builtins(manifest), indent=2) + "\n"
    temporary = folder / f".{MANIFEST}"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def describe_file(path: Path) -> HashedFile:
    """Hash a file for a manifest."""
    data = path.read_bytes()
    return HashedFile(file=path.name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
