"""What ``manifest.json`` says of a model: its layout, its older layouts, and what it may not say.

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
from edgebrain.types import PREPROCESSING_VERSIONS, InputSpec, Precision

SCHEMA_VERSION = 4
MANIFEST = "manifest.json"
UPGRADE = "Upgrade edgebrain: pip install --upgrade edgebrain"
_SIDES = (16, 4096)  # pixels; what lies outside is a mistake, not a model
_ALL = 100  # per cent
_MOST_STEPS = 100_000  # of an inner loop; more would hold a box up for hours


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
    """Another network, asked about scans that the first is in doubt about; see engines/two_readers.py.

    Attributes:
        id: Name of the model that it comes from.
        version: Version of that model.
        artifact: Its file, for ONNX Runtime on a CPU.
        graph: Names of its input and outputs.
        margin: It is asked where the first network's best logit leads the next one by less than this.
        weight: Share of its logits in the mean of both.
        golden: Inputs and its expected outputs, for the self-test.
    """

    id: str
    version: str
    artifact: Artifact
    graph: GraphSpec
    margin: float
    weight: float
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
        second_reader: The network that reads doubtful scans, too; None where every answer is one network's.
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
    """Validate types and keys.

    Raises:
        InvalidManifest: Something is missing, unknown or of a wrong type; the message says where.
    """
    try:
        manifest = msgspec.convert(tree, Manifest)
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
    return tree


def _sound_head(head: HeadSpec) -> bool:
    ways = len(head.labels)
    named = len(set(head.labels)) == ways > 1 and head.negative_label in (None, *head.labels)
    return named and 0 < head.lr < float("inf") and 0 <= head.steps <= _MOST_STEPS


def _sound_reader(second: SecondReader) -> bool:
    return second.artifact.engine == "onnxruntime" and 0 < second.margin < float("inf") and 0 < second.weight <= 1


def check(manifest: Manifest, path: Path) -> None:
    """Refuse what types cannot.

    Raises:
        InvalidManifest: It says something impossible.
        UnsupportedSchema: Its input is prepared in a way that this edgebrain does not know.
    """
    decision = manifest.decision
    entries = files_of(manifest)
    heads = [*manifest.heads, *([manifest.head] if manifest.head is not None else [])]
    labels, spec, second = manifest.labels, manifest.input, manifest.second_reader
    faults = {
        "labels must be two or more, all different": len(set(labels)) != len(labels) or len(labels) <= 1,
        "negative_label is not one of the labels": manifest.negative_label not in (None, *labels),
        "there is no artifact": not manifest.artifacts,
        "decision.temperature must be above 0 and finite": not 0 < decision.temperature < float("inf"),
        "decision.min_confidence and max_color_fraction must lie between 0 and 1": not all(
            0 <= share <= 1 for share in (decision.min_confidence, decision.max_color_fraction)
        ),
        "decision.max_outlier must lie between 0 and 1, both excluded": not (
            decision.max_outlier is None or 0 < decision.max_outlier < 1
        ),
        "decision.max_outlier limits an output that graph.outlier does not name": (
            decision.max_outlier is not None and manifest.graph.outlier is None
        ),
        "heads stand on an embedding that graph.embedding does not name": bool(heads) and not manifest.graph.embedding,
        "the head's labels are not the model's": manifest.head is not None
        and (manifest.head.labels, manifest.head.negative_label) != (labels, manifest.negative_label),
        "heads must have names of their own": len({h.name for h in manifest.heads}) != len(manifest.heads),
        "an adapted head has no second reader": manifest.head is not None and second is not None,
        "second_reader wants a file for onnxruntime, a margin above 0 and a weight between 0 and 1": (
            second is not None and not _sound_reader(second)
        ),
        "two files have one name": len({e.file for e in entries}) != len(entries),
        "a head's labels, lr or steps are out of range": not all(map(_sound_head, heads)),
        "id, version and labels must be text that can be printed": not all(
            text and text.isprintable()
            for text in (
                *(manifest.id, manifest.version, *labels, *(t for h in heads for t in (h.name, *h.labels))),
                *(() if second is None else (second.id, second.version)),
            )
        ),
        "a file name, engine or layout cannot be printed": not all(
            text.isprintable()
            for text in (
                *(e.file for e in entries),
                *(t for a in manifest.artifacts for t in (a.engine, a.layout or "")),
            )
        ),
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
    if spec.preprocessing not in PREPROCESSING_VERSIONS:
        raise UnsupportedSchema(
            f"{path} wants preprocessing version {spec.preprocessing}; this edgebrain has "
            f"{', '.join(map(str, PREPROCESSING_VERSIONS))}.",
            remedy=UPGRADE,
        )
