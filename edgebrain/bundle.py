"""Bundles: the folder that holds a model and all there is to know about it.

``manifest.json`` says what the files beside it are. Hashes are checked over the bytes that are handed out, so nothing
can be swapped between check and use. A bundle holds no pickle, no link, no path that leaves the folder and no graph
that reads other files.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import msgspec

from edgebrain.errors import HashMismatch, InvalidManifest, UsageError, printable
from edgebrain.graphs import refers_to_other_files
from edgebrain.manifest import (
    MANIFEST,
    SCHEMA_VERSION,
    Artifact,
    GraphSpec,
    HashedFile,
    HeadSpec,
    Manifest,
    SecondReader,
    files_of,
    files_of_second_reader,
    manifest_tree,
    migrate,
    parse_manifest,
)
from edgebrain.manifest_rules import check
from edgebrain.seal import SEAL, answer_sha256

__all__ = [
    "BUILT_IN",
    "CARD",
    "CHANGELOG",
    "MANIFEST",
    "SCHEMA_VERSION",
    "TEXTS",
    "Artifact",
    "Bundle",
    "GraphSpec",
    "HashedFile",
    "HeadSpec",
    "Manifest",
    "SecondReader",
    "built_in_models",
    "describe_file",
    "files_of",
    "files_of_second_reader",
    "manifest_tree",
    "open_bundle",
    "parse_manifest",
    "read_manifest",
    "read_text",
    "write_manifest",
]

CARD = "MODEL_CARD.md"
CHANGELOG = "CHANGELOG.md"
TEXTS = (CARD, CHANGELOG, "export_report.json", "export_report.md")
"""For people; a bundle works without them, and its manifest does not name them."""
MAX_FILE_BYTES = 1 << 31
MAX_TEXT_BYTES = 1 << 20
"""Of the manifest and of texts for people; ours have a few kilobytes."""
_AGAIN = "Install or copy the bundle again."

BUILT_IN = Path(__file__).parent / "bundles"


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

    def first_alone(self) -> Bundle:
        """The same bundle without its second reader."""
        return Bundle(self.folder, msgspec.structs.replace(self.manifest, second_reader=None))

    def read(self, entry: Artifact | HashedFile | HeadSpec) -> bytes:
        """The verified bytes of one file.

        Raises:
            InvalidManifest: The file is missing, a link or not a regular file; or it should be a graph, and is none or
                one that reads other files.
            HashMismatch: It is not the file that the manifest was written for.
        """
        data = _read_regular(self.folder / entry.file, MAX_FILE_BYTES, entry.bytes)
        digest = hashlib.sha256(data).hexdigest()
        if digest != entry.sha256:
            raise _other_file(self.folder / entry.file, f"sha256 {digest[:12]}...", f"{entry.sha256[:12]}...")
        if _is_onnx(entry):
            _check_onnx(self.folder / entry.file, data)
        return data

    def read_card(self) -> str:
        """The model card, safe to show: UTF-8 as far as it is, control characters written out.

        Raises:
            InvalidManifest: It is missing, a link, not a regular file or too large.
        """
        return "".join(f"{printable(line)}\n" for line in self.read_text(CARD).splitlines())

    def read_text(self, name: str) -> str:
        """A text that lies in the bundle, as it is; see :func:`read_text`.

        Args:
            name: One of :data:`TEXTS`.
        """
        return read_text(self.folder / name)


def read_text(path: Path) -> str:
    """A text file of at most 1 MiB, UTF-8 as far as it is; not safe to show.

    Raises:
        InvalidManifest: It is missing, a link, not a regular file or too large.
    """
    return _read_regular(path, MAX_TEXT_BYTES).decode("utf-8", "replace")


def _check_onnx(file: Path, data: bytes) -> None:
    try:
        outside = refers_to_other_files(data)
    except ValueError as error:
        raise InvalidManifest(
            f"{file} is no ONNX file ({error}), although it is the file that the manifest names.",
            remedy="Export the model again.",
        ) from error
    if outside:
        raise InvalidManifest(
            f"{file} keeps weights in another file (ONNX external data), which is not allowed.",
            remedy="Export the model into one file.",
        )


def _is_onnx(entry: Artifact | HashedFile | HeadSpec) -> bool:
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
        UnsupportedSchema: A newer edgebrain wrote it, or it wants another preprocessing.
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
    data = _read_regular(path, MAX_TEXT_BYTES)
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(tree, dict) or type(tree.get("schema_version")) is not int:
        raise InvalidManifest(f"{path} has no schema_version; it is not a manifest of edgebrain.")
    tree = migrate(tree, path)
    manifest = parse_manifest(tree, path)
    check(manifest, path)
    if tree[SEAL] != answer_sha256(tree):
        raise HashMismatch(
            f"{path} was changed: what it says of labels, input, decision or readers is not what {SEAL} was made for.",
            remedy="Install or copy the bundle again; to fit other thresholds, use edgebrain recalibrate.",
        )
    return manifest


def _read_regular(path: Path, limit: int, size: int | None = None) -> bytes:
    # O_NOFOLLOW and fstat on the open file: a link or a FIFO is refused even if it is put there at this moment.
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = "is a symbolic link" if path.is_symlink() else f"cannot be read: {error.strerror}"
        raise InvalidManifest(f"{path} {reason}.", remedy=_AGAIN) from error
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > limit:
            raise InvalidManifest(f"{path} is not a regular file of at most {limit >> 20} MiB.", remedy=_AGAIN)
        if size is not None and facts.st_size != size:
            raise _other_file(path, f"{facts.st_size} bytes", str(size))
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(facts.st_size)
    except OSError as error:
        raise InvalidManifest(f"{path} cannot be read: {error.strerror}.", remedy=_AGAIN) from error
    finally:
        os.close(handle)


def _other_file(path: Path, found: str, expected: str) -> HashMismatch:
    return HashMismatch(
        f"{path} is not the file its manifest was written for ({found}, expected {expected}).", remedy=_AGAIN
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into a folder, under a temporary name first.

    Raises:
        InvalidManifest: The manifest says something impossible.
    """
    path = folder / MANIFEST
    check(manifest, path)
    text = json.dumps(manifest_tree(manifest), indent=2) + "\n"
    temporary = folder / f".{MANIFEST}"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def describe_file(path: Path) -> HashedFile:
    """Hash a file for a manifest."""
    data = path.read_bytes()
    return HashedFile(file=path.name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
