"""From a trained model to a bundle: ONNX, INT8, decision, gate, golden outputs, card; whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import edgebrain
from edgebrain import bundle as bundles
from edgebrain.decision import DecisionSpec
from edgebrain.errors import GateFailed, UsageError
from edgebrain.evaluation.measure import Evaluation
from edgebrain.labelled import NO_TUMOR, NOT_BRAIN_MRI, Sample
from edgebrain.phantom import SAMPLES, draw_phantom
from edgebrain.place import check_output, replacing
from edgebrain.preprocessing import prepare
from edgebrain.selftest import Golden, write_golden
from edgebrain.train.config import SPLITS_FILE
from edgebrain.train.data import PreparedSet, digest, prepare_samples
from edgebrain.train.models import TrainedModel, load_model
from edgebrain.types import Float32, Image8, Precision, Scan

from .card import write_card
from .evidence import gather
from .figures import headline
from .operating_point import FittedDecision, fit_decision
from .outlier_limit import FittedLimit, fit_outlier_limit
from .quantize import calibration_choice, quantize_cpu
from .to_onnx import check_parity, run_onnx, to_onnx
from .verify import Comparison, Limits, compare

MAKE_SPLITS = "Make splits with: edgebrain audit DIR... --splits FILE.csv"
INTENDED_USE = (
    "Pre-triage of single brain MRI slices for research: orders a reading list. Not a medical device; a person reads "
    "every scan. Not for stroke, bleeding, children, post-operative scans or anything but a brain MRI slice."
)


@dataclass(frozen=True)
class ExportRequest:
    """What to export.

    Attributes:
        model: ``model.safetensors`` of a training run.
        output: Bundle folder to write; replaced as a whole if it is one of ours.
        version: Version of the model.
        samples: Labelled scans with splits: calibration draws from train, decision and gate use val, figures test.
        data_name: Name of the data for people, in the card.
        int8: Whether to add the INT8 file.
        calibration_scans: How many scans calibrate it.
        force: Write the bundle although the gate fails; the failure goes into the manifest.
        limits: What INT8 may lose.
    """

    model: Path
    output: Path
    version: str
    samples: Sequence[Sample]
    data_name: str
    int8: bool = True
    calibration_scans: int = 512
    force: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class _Decided:
    """What validation fixed: the decision, the limit of the outlier score, and how INT8 compares."""

    spec: DecisionSpec
    fitted: FittedDecision
    limit: FittedLimit | None
    comparison: Comparison | None

    def describe(self) -> str:
        """What the decision rests on."""
        return "; ".join([self.fitted.describe(), *([] if self.limit is None else [self.limit.describe()])])


@dataclass(frozen=True)
class Exported:
    """A written bundle, its figures by precision, and the gate's comparison."""

    folder: Path
    evaluations: dict[str, Evaluation]
    comparison: Comparison | None


def export_bundle(request: ExportRequest) -> Exported:
    """Make a bundle.

    Raises:
        UsageError: The output folder is something else, a split has no scans, or the splits are not the model's own.
        TrainingError: The model cannot be read.
        ExportError: The graph cannot be exported or quantised, or the bundle not written.
        GateFailed: The INT8 file is not as good as the float one, and force was not given.
    """
    check_output(request.output)
    trained = load_model(request.model)
    _check_data(request, trained)
    recipe = trained.recipe
    graph = to_onnx(trained.net.deployed(), recipe.input, _metadata(trained, request.version))
    check_parity(trained.net, graph, golden_inputs(trained))  # to_onnx compared it with the network made for export
    files = {Precision.FP32: graph}
    validation = _split(request.samples, trained, "val")
    if request.int8:
        files[Precision.INT8] = quantize_cpu(graph, _calibration(request, trained))
    outputs = {p: run_onnx(data, validation.images[:, np.newaxis]) for p, data in files.items()}
    logits = {p: found["logits"] for p, found in outputs.items()}
    default = Precision.INT8 if request.int8 else Precision.FP32
    labels = recipe.data.labels
    negative = labels.index(NO_TUMOR) if NO_TUMOR in labels else None
    # The file that runs by default decides; the gate then shows that the other one is calibrated alike.
    fitted = fit_decision(logits[default], validation.targets, negative)
    limit = _outlier_limit(request, trained, files[default], outputs[default])
    spec = fitted.spec if limit is None else msgspec.structs.replace(fitted.spec, max_outlier=limit.limit)
    comparison = None
    if request.int8:
        comparison = compare(
            logits[Precision.FP32],
            logits[Precision.INT8],
            validation.targets,
            spec=fitted.spec,
            negative=negative,
            limits=request.limits,
        )
        if comparison.failures and not request.force:
            raise GateFailed(
                f"INT8 is not as good as fp32: {'; '.join(comparison.failures)}.",
                remedy="Use more calibration scans, or --force to write the bundle with this failure in it.",
            )
    return _write(request, trained, files, _Decided(spec, fitted, limit, comparison))


def _outlier_limit(
    request: ExportRequest, trained: TrainedModel, file: bytes, outputs: Mapping[str, Float32]
) -> FittedLimit | None:
    if "outlier" not in outputs:
        return None
    recipe = trained.recipe
    chosen = [s for s in request.samples if s.split == "val" and s.label == NOT_BRAIN_MRI and not s.copy_of]
    if not chosen:
        return fit_outlier_limit(outputs["outlier"], np.empty(0, np.float32))
    pictures = prepare_samples(chosen, recipe.data.labels, recipe.input, None)
    return fit_outlier_limit(outputs["outlier"], run_onnx(file, pictures.images[:, np.newaxis])["outlier"])


def _check_data(request: ExportRequest, trained: TrainedModel) -> None:
    # With other splits, scans of validation and test may be ones that the model has learned by heart.
    if trained.facts.get("data_sha256") != digest(request.samples):
        raise UsageError(
            f"The data is not what {request.model} was trained with; no figure on it would mean anything.",
            remedy=f"Give the splits of the training run: --data {request.model.parent / SPLITS_FILE}",
        )


def _write(
    request: ExportRequest,
    trained: TrainedModel,
    files: dict[Precision, bytes],
    decided: _Decided,
) -> Exported:
    with replacing(request.output) as folder:
        manifest = _fill(folder, request, trained, files, decided)
        bundles.write_manifest(folder, manifest)
        evidence = gather(folder, list(files), request.samples)
        metrics = {p: headline(e, request.data_name) for p, e in evidence.evaluations.items()}
        if decided.comparison is not None:
            metrics["int8"]["gate"] = decided.comparison.to_dict()
        manifest = bundles.parse_manifest(_with(manifest, metrics), folder)
        bundles.write_manifest(folder, manifest)
        write_card(
            folder / bundles.CARD,
            manifest,
            evidence,
            decided.describe(),
            decided.comparison,
            data_name=request.data_name,
        )
        _keep_changelog(request, folder)
    return Exported(request.output, evidence.evaluations, decided.comparison)


def _with(manifest: bundles.Manifest, metrics: dict[str, Any]) -> dict[str, Any]:
    tree = bundles.manifest_tree(manifest)
    tree["metrics"] = metrics
    return tree


def _fill(
    folder: Path, request: ExportRequest, trained: TrainedModel, files: dict[Precision, bytes], decided: _Decided
) -> bundles.Manifest:
    recipe = trained.recipe
    phantoms = golden_inputs(trained)
    golden = Golden(phantoms, {})
    artifacts = []
    for precision, data in files.items():
        name = "model.onnx" if precision is Precision.FP32 else f"model.{precision.value}.onnx"
        (folder / name).write_bytes(data)
        hashed = bundles.describe_file(folder / name)
        artifacts.append(bundles.Artifact(name, "onnxruntime", precision, hashed.sha256, hashed.bytes))
        outputs = run_onnx(data, phantoms, batch=1)
        golden.logits[precision.value] = outputs["logits"]
        if "outlier" in outputs:
            golden.outlier[precision.value] = outputs["outlier"]
    (folder / "golden.npz").write_bytes(write_golden(golden))
    labels = recipe.data.labels
    return bundles.Manifest(
        schema_version=bundles.SCHEMA_VERSION,
        id=recipe.name,
        version=request.version,
        description=recipe.description,
        labels=labels,
        negative_label=NO_TUMOR if NO_TUMOR in labels else None,
        input=recipe.input,
        graph=bundles.GraphSpec(
            embedding="embedding",
            cam="cam" if "cam" in outputs else None,
            outlier="outlier" if decided.limit is not None else None,
            embedding_size=int(run_onnx(files[Precision.FP32], phantoms[:1])["embedding"].shape[1]),
        ),
        decision=decided.spec,
        artifacts=tuple(artifacts),
        golden=bundles.describe_file(folder / "golden.npz"),
        license="Apache-2.0",
        intended_use=INTENDED_USE,
        provenance={
            "recipe": recipe.name,
            "seed": recipe.seed,
            "parameters": trained.facts["parameters"],
            "trained_with": trained.facts["code_version"],
            "exported_with": edgebrain.__version__,
            "training_data_sha256": trained.facts["data_sha256"],
            "data_sha256": digest(request.samples),
            "data": request.data_name,
            "thresholds": decided.describe(),
            "gate": _gate_text(decided.comparison),
        },
    )


def _gate_text(comparison: Comparison | None) -> str:
    if comparison is None:
        return "not needed"
    return "passed" if not comparison.failures else f"FAILED: {'; '.join(comparison.failures)}"


def golden_inputs(trained: TrainedModel) -> Image8:
    """The prepared phantoms that every bundle is tested with, uint8 [N, 1, H, W]."""
    spec = trained.recipe.input
    return np.stack([prepare(Scan(draw_phantom(s), "<phantom>"), spec).image for s in SAMPLES])


def _metadata(trained: TrainedModel, version: str) -> dict[str, object]:
    recipe = trained.recipe
    return {"id": recipe.name, "version": version, "labels": list(recipe.data.labels), "input": asdict(recipe.input)}


def _split(samples: Sequence[Sample], trained: TrainedModel, split: str) -> PreparedSet:
    labels = trained.recipe.data.labels
    chosen = [s for s in samples if s.split == split and s.label in labels and not s.copy_of and not s.conflict]
    if not chosen:
        raise UsageError(f"The data has no {split} split.", remedy=MAKE_SPLITS)
    return prepare_samples(chosen, labels, trained.recipe.input, None)


def _calibration(request: ExportRequest, trained: TrainedModel) -> Image8:
    train = _split(request.samples, trained, "train")
    chosen = calibration_choice(train.targets, request.calibration_scans, trained.recipe.seed)
    return train.images[chosen][:, np.newaxis]


def _keep_changelog(request: ExportRequest, folder: Path) -> None:
    # The history of a model is written by people; a new export must not lose it.
    earlier = request.output / "CHANGELOG.md"
    if earlier.is_file():
        shutil.copyfile(earlier, folder / "CHANGELOG.md")
