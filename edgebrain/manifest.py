"""What ``manifest.json`` says of a model: its layout, and how older layouts are read.

Nothing here touches a file; :mod:`edgebrain.bundle` reads and writes them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from edgebrain.decision import DecisionSpec
from edgebrain.errors import InvalidManifest, UnsupportedSchema
from edgebrain.migrations import MIGRATIONS, Migration
from edgebrain.seal import SEAL, answer_sha256
from edgebrain.types import InputSpec, Precision

SCHEMA_VERSION = 6
MANIFEST = "manifest.json"
UPGRADE = "Get a newer edgebrain from where this one came from, and install it: pip install ."


class GraphSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names of the graph's input and outputs; all but ``logits`` are absent where there are none."""

    input: str = "image"
    logits: str = "logits"
    embedding: str | None = None
    cam: str | None = None
    embedding_size: int = 0
    outlier: str | None = None


class Artifact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file that an engine can run, or that belongs to the file before it.

    Attributes:
        file: Its name in the folder.
        engine: Engine that it is made for.
        precision: Its arithmetic.
        sha256: Of its bytes, in hex.
        bytes: Its size.
        layout: How it is quantised or typed, see docs/reference/bundle.md; None for a float graph, and for files of
            bundles that did not say.
    """

    file: str
    engine: str
    precision: Precision
    sha256: str
    bytes: int
    layout: str | None = None


class HashedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Any other file of the bundle whose contents matter."""

    file: str
    sha256: str
    bytes: int


class HeadSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A linear layer on the embedding, in a file of its own; see heads.py.

    Attributes:
        name: Name of the head.
        labels: Labels in the order of its rows.
        negative_label: The label that means "no tumour", where it has one.
        lr: Size of a step of the inner loop that it was meta-learned for.
        steps: Number of those steps.
        file: Its file.
        sha256: Hash of the file.
        bytes: Size of the file.
    """

    name: str
    labels: tuple[str, ...]
    negative_label: str | None
    lr: float
    steps: int
    file: str
    sha256: str
    bytes: int


class SecondReader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another network, asked about scans that the first may be wrong about; see engines/two_readers.py.

    Attributes:
        id: Name of the model that it comes from.
        version: Version of that model.
        artifact: Its file, for ONNX Runtime on a CPU.
        graph: Names of its input and outputs.
        margin: It is asked where the first network's best logit leads the next one by less than this.
        weight: Share of its logits in the mean of both.
        outlier_shift: Added to the outlier logit of a scan that the first is in doubt about: a sign of no brain MRI.
        negatives: Whether it is asked about every scan, too, to which the first gives the negative label; without
            a doubt its logits alone count.
        golden: Inputs and its expected outputs, for the self-test.
    """

    id: str
    version: str
    artifact: Artifact
    graph: GraphSpec
    margin: float
    weight: float
    outlier_shift: float
    negatives: bool = False
    golden: HashedFile | None = None


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
        calibration: Ranges that INT8 files are made from.
        metrics: Per precision: figure name to value, interval and data set.
        provenance: Recipe, code version, data digest, seed.
        heads: Meta-learned heads from which ``edgebrain adapt`` starts.
        head: The head that makes the logits in place of the graph's own; None where the graph's own are used.
        second_reader: The network that reads some scans, too; None where every answer is one network's.
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
    calibration: HashedFile | None = None
    metrics: dict[str, dict[str, Any]] = {}
    provenance: dict[str, Any] = {}
    heads: tuple[HeadSpec, ...] = ()
    head: HeadSpec | None = None
    second_reader: SecondReader | None = None


def files_of(manifest: Manifest) -> list[Artifact | HashedFile | HeadSpec]:
    """Every file that a manifest answers for, in its order."""
    single = [entry for entry in (manifest.golden, manifest.calibration, manifest.head) if entry is not None]
    return [*manifest.artifacts, *single, *manifest.heads, *files_of_second_reader(manifest)]


def files_of_second_reader(manifest: Manifest) -> list[Artifact | HashedFile]:
    """The second reader's part of them; empty where there is none."""
    second = manifest.second_reader
    return [] if second is None else [second.artifact, *([] if second.golden is None else [second.golden])]


def migrate(tree: dict[str, Any], path: Path, migrations: Mapping[int, Migration] = MIGRATIONS) -> dict[str, Any]:
    """Bring a manifest up to the current schema.

    Raises:
        UnsupportedSchema: It is newer than this edgebrain, or too old to migrate.
    """
    version = int(tree["schema_version"])
    if version > SCHEMA_VERSION:
        raise UnsupportedSchema(
            f"{path} has schema version {version}; this edgebrain reads up to {SCHEMA_VERSION}.",
            remedy=UPGRADE,
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
    """Validate types and keys. The hash of the answer must be there; :mod:`edgebrain.bundle` compares it.

    Raises:
        InvalidManifest: Something is missing, unknown or of a wrong type; the message says where.
    """
    if type(tree.get(SEAL)) is not str:
        raise InvalidManifest(f"{path} does not say {SEAL}.")
    try:
        manifest = msgspec.convert({key: value for key, value in tree.items() if key != SEAL}, Manifest)
    except msgspec.ValidationError as error:
        raise InvalidManifest(f"{path}: {error}.") from error
    if "preprocessing" not in tree["input"]:  # a default would change its meaning with the next version
        raise InvalidManifest(f"{path}: input does not say which version of the preprocessing it wants.")
    if "max_outlier" not in tree["decision"]:  # a model without a limit says so; one that lost it must not pass for one
        raise InvalidManifest(f"{path}: decision does not say max_outlier; null where there is no limit.")
    # msgspec refuses unknown keys of its own structs only.
    unknown = sorted(set(tree["input"]) - {field.name for field in dataclasses.fields(InputSpec)})
    if unknown:
        raise InvalidManifest(f"{path}: input has the unknown field {unknown[0]!r}.")
    return manifest


def manifest_tree(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain JSON-able types, the inverse of :func:`parse_manifest`.

    Every value is in it: msgspec leaves out defaults of a dataclass that it has read.
    """
    tree: dict[str, Any] = msgspec.to_builtins(manifest)
    tree["input"] = dataclasses.asdict(manifest.input)
    tree[SEAL] = answer_sha256(tree)
    return tree
