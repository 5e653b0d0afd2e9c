"""An adapted bundle on disk: the graph's own files, a new head, and what this machine makes of the golden inputs."""

from __future__ import annotations

import shutil
import stat
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgebrain import bundle as bundles
from edgebrain.adapt.run import HEAD_FILE
from edgebrain.engines import ENGINES, EngineOptions, open_engine, unavailable_because
from edgebrain.errors import EngineError, InvalidManifest
from edgebrain.heads import write_head
from edgebrain.place import replacing
from edgebrain.selftest import Golden, read_golden, write_golden

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgebrain.adapt.run import Adapted
    from edgebrain.adapt.support import Support
    from edgebrain.bundle import Artifact, Bundle, HeadSpec, Manifest
    from edgebrain.types import Float32, Image8

_GOLDEN_FILE = "golden.npz"
_CHANGES = "CHANGELOG.md"


def write(bundle: Bundle, adapted: Adapted, support: Support, output: Path, name: str | None) -> Manifest:
    """Write the adapted bundle: the graph's own files, the head, golden outputs of this machine, a new manifest.

    Raises:
        UsageError: The folder cannot be written to.
        BundleError: A file of the bundle is not what its manifest says.
        EngineError: No graph can be run here.
    """
    with replacing(output) as folder:
        manifest = bundle.manifest
        for artifact in manifest.artifacts:
            (folder / artifact.file).write_bytes(bundle.read(artifact))
        (folder / HEAD_FILE).write_bytes(write_head(adapted.head))
        spec = _hashed(adapted.spec, folder)
        draft = msgspec.structs.replace(
            manifest,
            id=name or f"{manifest.id}-adapted",
            description=f"{manifest.id} {manifest.version}, adapted on the device to {', '.join(spec.labels)}",
            labels=spec.labels,
            negative_label=spec.negative_label,
            graph=msgspec.structs.replace(manifest.graph, cam=None),
            decision=msgspec.structs.replace(manifest.decision, temperature=round(adapted.temperature, 4)),
            golden=None,
            calibration=None,  # for export alone, which refuses an adapted bundle
            metrics={},
            heads=(),
            head=spec,
            second_reader=None,  # it knows the labels of the model alone
            provenance=_provenance(bundle, adapted, support),
        )
        bundles.write_manifest(folder, draft)
        golden = _golden(bundle, bundles.Bundle(folder, draft))
        if golden is not None:
            (folder / _GOLDEN_FILE).write_bytes(write_golden(golden))
            draft = msgspec.structs.replace(draft, golden=bundles.describe_file(folder / _GOLDEN_FILE))
            bundles.write_manifest(folder, draft)
        (folder / bundles.CARD).write_text(_card(bundle, draft, adapted), encoding="utf-8")
        _copy_text(bundle.folder / _CHANGES, folder / _CHANGES)
    return draft


def _copy_text(source: Path, target: Path) -> None:
    """Copy a text that no manifest vouches for; one that is missing, a link or too large is left out."""
    try:
        facts = source.lstat()
    except OSError:
        return
    if stat.S_ISREG(facts.st_mode) and facts.st_size <= bundles.MAX_TEXT_BYTES:
        shutil.copyfile(source, target, follow_symlinks=False)


def _hashed(spec: HeadSpec, folder: Path) -> HeadSpec:
    found = bundles.describe_file(folder / spec.file)
    return msgspec.structs.replace(spec, sha256=found.sha256, bytes=found.bytes)


def _golden(source: Bundle, adapted: Bundle) -> Golden | None:
    """The golden inputs of the source, with what the adapted bundle makes of them here."""
    try:
        inputs = read_golden(source).images
    except InvalidManifest:
        if source.manifest.golden is not None:
            raise
        return None
    golden = Golden(inputs, {})
    refusals = []
    for artifact in _opened_alone(adapted.manifest):
        try:
            outputs = _run(adapted, artifact, inputs)
        except EngineError as error:
            refusals.append(error)
            continue
        precision = artifact.precision.value
        golden.logits.setdefault(precision, outputs["logits"])
        if "outlier" in outputs:
            golden.outlier.setdefault(precision, outputs["outlier"])
    if refusals and not golden.logits:
        raise refusals[0]
    return golden if golden.logits else None


def _opened_alone(manifest: Manifest) -> Iterator[Artifact]:
    """The graphs that an engine of this machine opens within seconds."""
    for artifact in manifest.artifacts:
        if artifact.file.endswith(".bin"):
            continue  # weights of an IR file, which is the artifact before it
        if artifact.engine == "tensorrt":
            continue  # it builds for minutes, and takes the golden outputs of fp32
        record = ENGINES.get(artifact.engine)
        if record is not None and unavailable_because(record) is None:
            yield artifact


def _run(bundle: Bundle, artifact: Artifact, inputs: Image8) -> dict[str, Float32]:
    with closing(open_engine(bundle, artifact, EngineOptions())) as engine:
        rows = [engine.run(inputs[i : i + 1]) for i in range(len(inputs))]
    return {role: np.concatenate([row[role] for row in rows]) for role in rows[0]}


def _provenance(bundle: Bundle, adapted: Adapted, support: Support) -> dict[str, Any]:
    import edgebrain

    counts = {label: sum(s.label == label for s in support.samples) for label in adapted.spec.labels}
    source = {k: v for k, v in bundle.manifest.provenance.items() if not k.startswith("second_reader")}
    return {
        **source,
        "adapted_from": f"{bundle.manifest.id} {bundle.manifest.version}",
        "adapted_with": edgebrain.__version__,
        "adapted_start": adapted.start,
        "adapted_lr": adapted.spec.lr,
        "adapted_steps": adapted.spec.steps,
        "support_scans": counts,
        "support_groups": int(np.unique(support.groups).size),
        "support_sha256": support.digest,
        "leave_one_out": msgspec.to_builtins(adapted.accuracy),
        "leave_one_out_confusion": [list(row) for row in adapted.confusion],
        "warnings": list(adapted.recorded),
    }


def _card(bundle: Bundle, manifest: Manifest, adapted: Adapted) -> str:
    figure = adapted.accuracy
    interval = (
        "" if figure.low is None or figure.high is None else f" (95 % interval {figure.low:.3f} to {figure.high:.3f})"
    )
    said = "\n".join(f"- {warning}" for warning in adapted.recorded) or "- none"
    return (
        f"# {manifest.id}\n\n{manifest.description}.\n\n"
        f"Leave-one-out accuracy on the scans it was adapted with: {figure.value:.3f}{interval}. No other scan has "
        f"tested it.\n\nStarted from {adapted.start}: {adapted.spec.steps} steps of {adapted.spec.lr:g}.\n\n"
        f"## Warnings\n\n{said}\n\n## Use\n\n{manifest.intended_use}\n\n"
        f"The model below it is described by the card of {bundle.manifest.id} {bundle.manifest.version}.\n"
    )
