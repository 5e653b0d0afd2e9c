"""From a trained model to a bundle: ONNX, INT8, decision, gate, golden outputs, card; whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import edgebrain
from edgebrain import bundle as bundles
from edgebrain.asked import as_asked
from edgebrain.errors import UsageError
from edgebrain.labelled import NO_TUMOR, NOT_BRAIN_MRI, Sample
from edgebrain.place import check_output, replacing
from edgebrain.selftest import Golden
from edgebrain.train.config import SPLITS_FILE
from edgebrain.train.data import PreparedSet, digest, prepare_samples
from edgebrain.train.models import TrainedModel, load_model
from edgebrain.types import Float32, Image8, Precision

from .card import Compared, write_card
from .contents import (
    Exported,
    add_golden,
    calibration_facts,
    golden_inputs,
    graph_spec,
    keep_changelog,
    store_golden,
    store_ranges,
    write_graphs,
)
from .evidence import gather
from .figures import headline
from .formats import INT8, Target, targets
from .gate import Row, judged, make_rows
from .gate_report import Parity, Report
from .input_version import asking_for, trained_preprocessing
from .make import Made, Maker
from .operating_point import FittedDecision, fit_decision
from .outlier_limit import FittedLimit, fit_outlier_limit
from .progress import Say, silent
from .ranges import Ranges, Source, measure
from .scans import content_digest, prepare_calibration, refuse_overlap, without_overlap
from .to_onnx import check_parity, in_batches, same_answers, to_onnx
from .verify import Judge, Limits, Outputs

MAKE_SPLITS = "Make splits with: edgebrain audit DIR... --splits FILE.csv"
INTENDED_USE = (
    "Pre-triage of single brain MRI slices for research: orders a reading list. Not a medical device; a person reads "
    "every scan. Not for stroke, bleeding, children, post-operative scans or anything but a brain MRI slice."
)
_COMPARED = 256
"""Validation scans that the ONNX file is compared with its network on."""


@dataclass(frozen=True)
class ExportRequest:
    """What to export.

    Attributes:
        model: ``model.safetensors`` of a training run.
        output: Bundle folder to write; replaced as a whole if it is one of ours.
        version: Version of the model.
        samples: Labelled scans with splits: calibration draws from train, decision and gate use val, figures test.
        data_name: Name of the data for people, in the card.
        targets: Files to make.
        calibration: Scans to calibrate with instead of those of the train split.
        validation: Scans for decision and gate instead of those of the val split.
        calibration_scans: How many scans calibrate.
        force: Write the bundle although the gate fails; the failure goes into the manifest.
        preprocessing: Version that the bundle asks for; None keeps that of the training. Calibration, decision, gate
            and figures are all made with it.
        limits: What a file may lose.
        say: Told what is being done.
    """

    model: Path
    output: Path
    version: str
    samples: Sequence[Sample]
    data_name: str
    targets: tuple[Target, ...] = field(default_factory=lambda: targets((), ()))
    calibration: Sequence[Sample] | None = None
    validation: Sequence[Sample] | None = None
    calibration_scans: int = 512
    force: bool = False
    preprocessing: int | None = None
    limits: Limits = field(default_factory=Limits)
    say: Say = silent


@dataclass(frozen=True)
class _Decided:
    """What validation fixed: the judge with its decision, what that rests on, the limit of the outlier score."""

    judge: Judge
    fitted: FittedDecision
    limit: FittedLimit | None

    def describe(self) -> str:
        """What the decision rests on."""
        return "; ".join([self.fitted.describe(), *([] if self.limit is None else [self.limit.describe()])])


def export_bundle(request: ExportRequest) -> Exported:
    """Make a bundle.

    Raises:
        UsageError: The output folder is something else, a split has no scans, the splits are not the model's own, or
            calibration scans are in validation.
        TrainingError: The model cannot be read.
        ExportError: The graph cannot be exported or quantised, or the bundle not written.
        GateFailed: A file is not as good as the float one, and force was not given.
    """
    check_output(request.output)
    trained = asking_for(request.preprocessing, load_model(request.model))
    recipe = trained.recipe
    request = replace(request, samples=as_asked(request.samples, recipe.data.labels))
    _check_data(request, trained)
    request.say("exporting to ONNX")
    maker = Maker(to_onnx(trained.net.deployed(), recipe.input, _metadata(trained, request.version)))
    request.say("reading validation scans")
    validation = _split(request, trained)
    if any(target.precision is Precision.INT8 for target in request.targets):
        request.say("calibrating")
        maker.ranges = _calibrated(request, trained, maker, validation)
    images = validation.images[:, np.newaxis]
    parity = _parity(trained, maker.graph, images)
    negative = recipe.data.labels.index(NO_TUMOR) if NO_TUMOR in recipe.data.labels else None

    def judge(outputs: Outputs) -> Judge:
        return Judge(
            validation.targets,
            fit_decision(outputs["logits"], validation.targets, negative).spec,
            negative,
            request.limits,
        )

    rows = make_rows(maker, request.targets, images, judge, request.say)
    decided = _decide(request, trained, validation, _default(rows), negative)
    rows = [judged(row, rows[0], decided.judge) for row in rows]
    report = Report(
        f"{recipe.name} {request.version}",
        recipe.data.labels,
        rows,
        maker.ranges,
        parity,
        content_digest(validation),
    )
    report.refuse_failures(force=request.force)
    return _write(request, trained, report, decided)


def _default(rows: Sequence[Row]) -> Row:
    """The file that runs by default."""
    return next((row for row in rows if row.made.target == INT8), rows[0])


def _decide(
    request: ExportRequest, trained: TrainedModel, validation: PreparedSet, row: Row, negative: int | None
) -> _Decided:
    # The file that runs by default decides; the gate then shows that the other ones are calibrated alike.
    fitted = fit_decision(row.outputs["logits"], validation.targets, negative)
    limit = _outlier_limit(request, trained, row.made, row.outputs)
    spec = fitted.spec if limit is None else msgspec.structs.replace(fitted.spec, max_outlier=limit.limit)
    return _Decided(Judge(validation.targets, spec, negative, request.limits), fitted, limit)


def _parity(trained: TrainedModel, graph: bytes, images: Image8) -> Parity:
    # to_onnx compared the file with the network made for export; this is the trained one, on scans and on phantoms.
    check_parity(trained.net, graph, golden_inputs(trained.recipe.input))
    compared = images[:_COMPARED]
    return Parity(len(compared), check_parity(trained.net, graph, compared), same_answers(trained.net, graph, compared))


def _calibrated(request: ExportRequest, trained: TrainedModel, maker: Maker, validation: PreparedSet) -> Ranges:
    recipe = trained.recipe
    count = request.calibration_scans
    if request.calibration is None:
        chosen = _wanted(request.samples, trained, "train")
        prepared = prepare_calibration(chosen, recipe.data.labels, recipe.input, count, recipe.seed)
        prepared = without_overlap(prepared, validation)
    else:
        prepared = prepare_calibration(request.calibration, recipe.data.labels, recipe.input, count, recipe.seed)
        refuse_overlap(prepared, validation)
    source = Source(maker.sha256, content_digest(prepared))
    return measure(maker.ready, prepared.images[:, np.newaxis], source)


def _outlier_limit(
    request: ExportRequest, trained: TrainedModel, made: Made, outputs: Mapping[str, Float32]
) -> FittedLimit | None:
    if "outlier" not in outputs:
        return None
    recipe = trained.recipe
    chosen = [s for s in request.samples if s.split == "val" and s.label == NOT_BRAIN_MRI and not s.copy_of]
    if not chosen:
        return fit_outlier_limit(outputs["outlier"], np.empty(0, np.float32))
    pictures = prepare_samples(chosen, recipe.data.labels, recipe.input, None)
    return fit_outlier_limit(outputs["outlier"], in_batches(made.open(), pictures.images[:, np.newaxis])["outlier"])


def _check_data(request: ExportRequest, trained: TrainedModel) -> None:
    # With other splits, scans of validation and test may be ones that the model has learned by heart.
    if trained.facts.get("data_sha256") != digest(request.samples):
        raise UsageError(
            f"The data is not what {request.model} was trained with; no figure on it would mean anything.",
            remedy=f"Give the splits of the training run: --data {request.model.parent / SPLITS_FILE}",
        )


def _write(request: ExportRequest, trained: TrainedModel, report: Report, decided: _Decided) -> Exported:
    comparison = _default(report.rows).comparison
    precisions = [p for p in (Precision.FP32, Precision.INT8) if _on_cpu(report.rows, p)]
    with replacing(request.output) as folder:
        manifest = _fill(folder, request, trained, report, decided)
        bundles.write_manifest(folder, manifest)
        request.say("measuring the finished bundle")
        evidence = gather(folder, precisions, request.samples)
        metrics = {p: headline(e, request.data_name) for p, e in evidence.evaluations.items()}
        if comparison is not None:
            metrics["int8"]["gate"] = comparison.to_dict()
        manifest = bundles.parse_manifest(_with(manifest, metrics), folder)
        bundles.write_manifest(folder, manifest)
        card, compared = folder / bundles.CARD, Compared(comparison)
        write_card(card, manifest, evidence, decided.describe(), compared, data_name=request.data_name)
        report.write(folder)
        keep_changelog(request.output, folder)
    return Exported(request.output, evidence.evaluations, report)


def _on_cpu(rows: Sequence[Row], precision: Precision) -> bool:
    return any(r.made.target.engine == "onnxruntime" and r.made.target.precision is precision for r in rows)


def _with(manifest: bundles.Manifest, metrics: dict[str, Any]) -> dict[str, Any]:
    tree = bundles.manifest_tree(manifest)
    tree["metrics"] = metrics
    return tree


def _fill(
    folder: Path, request: ExportRequest, trained: TrainedModel, report: Report, decided: _Decided
) -> bundles.Manifest:
    recipe = trained.recipe
    golden = Golden(golden_inputs(trained.recipe.input), {})
    add_golden(golden, report.rows)
    labels = recipe.data.labels
    return bundles.Manifest(
        schema_version=bundles.SCHEMA_VERSION,
        id=recipe.name,
        version=request.version,
        description=recipe.description,
        labels=labels,
        negative_label=NO_TUMOR if NO_TUMOR in labels else None,
        input=recipe.input,
        graph=graph_spec(report.rows[0].outputs),
        decision=decided.judge.spec,
        artifacts=tuple(write_graphs(folder, report.rows)),
        golden=store_golden(folder, golden),
        calibration=store_ranges(folder, report.ranges),
        license="Apache-2.0",
        intended_use=INTENDED_USE,
        provenance={
            "recipe": recipe.name,
            "seed": recipe.seed,
            "parameters": trained.facts["parameters"],
            "trained_with": trained.facts["code_version"],
            "exported_with": edgebrain.__version__,
            **trained_preprocessing(trained),
            "training_data_sha256": trained.facts["data_sha256"],
            "data_sha256": digest(request.samples),
            "data": request.data_name,
            **calibration_facts(report),
            "thresholds": decided.describe(),
            "gate": report.verdict(),
        },
    )


def _metadata(trained: TrainedModel, version: str) -> dict[str, object]:
    recipe = trained.recipe
    return {"id": recipe.name, "version": version, "labels": list(recipe.data.labels), "input": asdict(recipe.input)}


def _wanted(samples: Sequence[Sample], trained: TrainedModel, split: str) -> list[Sample]:
    labels = trained.recipe.data.labels
    chosen = [s for s in samples if s.split == split and s.label in labels and not s.copy_of and not s.conflict]
    if not chosen:
        raise UsageError(f"The data has no {split} split.", remedy=MAKE_SPLITS)
    return chosen


def _split(request: ExportRequest, trained: TrainedModel) -> PreparedSet:
    chosen = _wanted(request.samples, trained, "val") if request.validation is None else request.validation
    return prepare_samples(chosen, trained.recipe.data.labels, trained.recipe.input, None)
