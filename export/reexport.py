"""From the float graph of a bundle to further files: no training run, and if need be no scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import edgebrain
from edgebrain import bundle as bundles
from edgebrain.bundle import Bundle
from edgebrain.errors import UsageError
from edgebrain.labelled import Sample
from edgebrain.place import check_output, replacing
from edgebrain.selftest import read_golden
from edgebrain.train.data import PreparedSet, prepare_samples
from edgebrain.types import Precision

from .card import export_section
from .contents import Exported, add_golden, calibration_facts, keep_changelog, store_golden, store_ranges, write_graphs
from .formats import FLOAT, Target
from .gate import make_rows
from .gate_report import Report
from .make import Maker
from .progress import Say, silent
from .ranges import Ranges, Source, measure, read_ranges
from .scans import content_digest, prepare_calibration, refuse_overlap
from .verify import Judge, Limits


@dataclass(frozen=True)
class ReexportRequest:
    """What to make of a bundle.

    Attributes:
        bundle: Where the float graph, the decision and everything else comes from.
        output: Bundle folder to write; may be the same.
        targets: Files to make. Others of the bundle are kept, unless they come from another calibration.
        calibration: Scans to calibrate with; None takes the ranges that the bundle stores.
        validation: Labelled scans for the gate; None leaves the golden inputs.
        calibration_scans: How many scans calibrate.
        force: Write the bundle although the gate fails.
        limits: What a file may lose.
        say: Told what is being done.
    """

    bundle: Bundle
    output: Path
    targets: tuple[Target, ...]
    calibration: Sequence[Sample] | None = None
    validation: Sequence[Sample] | None = None
    calibration_scans: int = 512
    force: bool = False
    limits: Limits = field(default_factory=Limits)
    say: Say = silent


def reexport(request: ReexportRequest) -> Exported:
    """Make a bundle from a bundle.

    Raises:
        UsageError: There is no float graph, nothing to calibrate with, calibration scans are in validation, or the
            bundle was adapted.
        BundleError: The bundle is not what it says.
        ExportError: A file cannot be made, or the bundle not written.
        GateFailed: A file is not as good as the float one, and force was not given.
    """
    check_output(request.output)
    bundle, manifest = request.bundle, request.bundle.manifest
    if manifest.head is not None:
        raise UsageError(
            f"{bundle.folder} answers with an adapted head, which is in none of its graphs.",
            remedy="Export the model that it was adapted from, and adapt that one again.",
        )
    original = _float_artifact(bundle)
    maker = Maker(bundle.read(original))
    validation = _prepared(request, request.validation)
    if any(target.precision is Precision.INT8 for target in request.targets):
        request.say("calibrating")
        maker.ranges = _ranges(request, maker, original, validation)
    images = read_golden(bundle).images if validation is None else validation.images[:, np.newaxis]
    negative = None if manifest.negative_label is None else manifest.labels.index(manifest.negative_label)
    targets = None if validation is None else validation.targets
    judge = Judge(targets, manifest.decision, negative, request.limits)
    rows = make_rows(maker, request.targets, images, lambda _: judge, request.say)
    report = Report(
        f"{manifest.id} {manifest.version}",
        manifest.labels,
        rows,
        maker.ranges,
        None,
        None if validation is None else content_digest(validation),
    )
    report.refuse_failures(force=request.force)
    _write(request, report)
    return Exported(request.output, {}, report)


def _float_artifact(bundle: Bundle) -> bundles.Artifact:
    for artifact in bundle.artifacts("onnxruntime"):
        if artifact.precision is Precision.FP32:
            return artifact
    raise UsageError(
        f"{bundle.folder} has no fp32 graph to export from.", remedy="Export from the training run instead."
    )


def _prepared(request: ReexportRequest, samples: Sequence[Sample] | None) -> PreparedSet | None:
    if samples is None:
        return None
    request.say("reading scans")
    return prepare_samples(samples, request.bundle.manifest.labels, request.bundle.manifest.input, None)


def _ranges(
    request: ReexportRequest, maker: Maker, original: bundles.Artifact, validation: PreparedSet | None
) -> Ranges:
    manifest = request.bundle.manifest
    if request.calibration is not None:
        prepared = prepare_calibration(
            request.calibration, manifest.labels, manifest.input, request.calibration_scans, _seed(manifest)
        )
        if validation is not None:
            refuse_overlap(prepared, validation)
        source = Source(maker.sha256, content_digest(prepared))
        return measure(maker.ready, prepared.images[:, np.newaxis], source)
    stored = manifest.calibration
    if stored is None:
        raise UsageError(
            f"INT8 needs calibration, and the bundle {request.bundle.folder} stores no calibration ranges.",
            remedy="Give scans like those it will see, 128 or more: --calibration DIR (and --validation DIR for a full "
            "gate).",
        )
    return read_ranges(request.bundle.read(stored), request.bundle.folder / stored.file, original.sha256)


def _seed(manifest: bundles.Manifest) -> int:
    """The training's, which chose the calibration scans before: the same scans give the same files again."""
    seed = manifest.provenance.get("seed")
    return seed if isinstance(seed, int) and seed >= 0 else 0


def _write(request: ReexportRequest, report: Report) -> None:
    bundle, manifest = request.bundle, request.bundle.manifest
    golden = read_golden(bundle)
    # Its float outputs are those of the bundle's maker, and stay.
    add_golden(golden, [row for row in report.rows if row.made.target != FLOAT])
    card = bundle.read_card()
    with replacing(request.output) as folder:
        made = write_graphs(folder, report.rows)
        kept = _kept(request, {artifact.file for artifact in made})
        for artifact in kept:
            (folder / artifact.file).write_bytes(bundle.read(artifact))
        for entry in [*manifest.heads, *bundles.files_of_second_reader(manifest)]:
            (folder / entry.file).write_bytes(bundle.read(entry))
        new = msgspec.structs.replace(
            manifest,
            schema_version=bundles.SCHEMA_VERSION,
            artifacts=(made[0], *sorted([*made[1:], *kept], key=_order)),
            golden=store_golden(folder, golden),
            calibration=store_ranges(folder, report.ranges) or _keep_ranges(bundle, folder),
            metrics=_metrics(manifest, report),
            provenance={
                **manifest.provenance,
                "exported_with": edgebrain.__version__,
                "exported_from": f"the fp32 graph of {manifest.id} {manifest.version}",
                **calibration_facts(report),
                "gate": report.verdict(),
            },
        )
        bundles.write_manifest(folder, new)
        (folder / bundles.CARD).write_text(export_section(card, new, report), encoding="utf-8")
        report.write(folder)
        keep_changelog(bundle.folder, folder)


def _kept(request: ReexportRequest, made: set[str]) -> list[bundles.Artifact]:
    """Files of the bundle that are not made anew; all INT8 files of a bundle come from one calibration."""
    calibrated = request.calibration is not None and any(t.precision is Precision.INT8 for t in request.targets)
    original = _float_artifact(request.bundle)
    return [
        artifact
        for artifact in request.bundle.manifest.artifacts
        if artifact != original
        and artifact.file not in made
        and not (calibrated and artifact.precision is Precision.INT8)
    ]


def _order(artifact: bundles.Artifact) -> int:
    """CPU files first, in the order in which engines look; the order within an engine stays."""
    engines = ("onnxruntime", "openvino", "tensorrt")
    return engines.index(artifact.engine) if artifact.engine in engines else len(engines)


def _keep_ranges(bundle: Bundle, folder: Path) -> bundles.HashedFile | None:
    stored = bundle.manifest.calibration
    if stored is not None:
        (folder / stored.file).write_bytes(bundle.read(stored))
    return stored


def _metrics(manifest: bundles.Manifest, report: Report) -> dict[str, dict[str, Any]]:
    """Figures of files that are the same as before; of new ones only the gate's."""
    before = {(a.precision, a.sha256) for a in manifest.artifacts}
    metrics = dict(manifest.metrics)
    for row in report.rows:
        target = row.made.target
        if target.engine != "onnxruntime" or row.comparison is None or target.layout is None:
            continue
        same = (target.precision, row.made.sha256) in before
        figures = metrics.get(target.precision.value, {}) if same else {}
        if target.file == f"model.{target.precision.value}.onnx":
            metrics[target.precision.value] = {**figures, "gate": row.comparison.to_dict()}
    return metrics
