"""A bundle's decision fitted anew on other scans; its graphs stay as they are, byte by byte.

Probabilities that were calibrated on one hospital's scans are not calibrated on another's. Temperature, thresholds and
the limit of the outlier score are numbers of the manifest, so some hundred labelled scans of the place are enough to
fit them there, without training.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

import edgebrain
from edgebrain import bundle as bundles
from edgebrain.asked import as_asked
from edgebrain.classifier import Classifier
from edgebrain.decision import DecisionSpec
from edgebrain.errors import UsageError
from edgebrain.evaluation.measure import Evaluation
from edgebrain.labelled import Sample
from edgebrain.place import check_output, replacing
from edgebrain.train.data import PreparedSet, digest
from edgebrain.types import Precision

from .card import Compared, write_card
from .contents import keep_text
from .evidence import gather
from .figures import headline
from .held_out import outputs_on, validation_pictures, validation_scans
from .left_out import LeftOut
from .operating_point import fit_decision
from .outlier_limit import fit_outlier_limit
from .pair_gate import BESIDE_SECOND, OF_BOTH, PairGate
from .progress import Say, silent
from .verify import Comparison


@dataclass(frozen=True)
class Recalibration:
    """What to fit anew, and with what.

    Attributes:
        model: The bundle.
        samples: Labelled scans with splits: val fits, test judges; pictures labelled ``not_brain_mri`` fit the limit of
            the outlier score. None of them may have trained the model.
        output: Bundle folder to write; may be the bundle's own.
        version: Of the new bundle; that of the old one and ``+recalibrated`` if None.
        data_name: Name of the data for people, in the card.
        left_out: Models that were trained without one of the sources, for the card; those of the old card are not kept.
        say: Told what is being done.
        compare: Compares the precisions of two readers with the fitted decision, by split. None for a bundle whose
            files stay: what was compared is kept.
    """

    model: str | Path
    samples: Sequence[Sample]
    output: Path
    version: str | None = None
    data_name: str = "own scans"
    left_out: tuple[LeftOut, ...] = ()
    say: Say = silent
    compare: PairGate | None = None


@dataclass(frozen=True)
class Recalibrated:
    """The decision as it is now, what it rests on in words, on how many scans, and the figures by precision."""

    decision: DecisionSpec
    rests_on: str
    scans: int
    evaluations: dict[str, Evaluation]


def recalibrate(request: Recalibration) -> Recalibrated:
    """Fit the decision of a bundle, measure the bundle anew, and write it.

    Raises:
        UsageError: The bundle has an adapted head or no file for ONNX Runtime, a split has no scans, val has none with
            or none without a tumour, or the output is something else.
        EdgebrainError: The bundle or the scans cannot be used.
    """
    check_output(request.output)
    bundle = bundles.open_bundle(request.model)
    manifest = bundle.manifest
    if manifest.head is not None:
        raise UsageError(
            f"{manifest.id} has an adapted head, whose decision comes from its support scans.",
            remedy="Recalibrate the bundle that it was adapted from, and adapt that.",
        )
    samples = as_asked(request.samples, manifest.labels)
    request.say("reading validation scans")
    scans = validation_scans(manifest, samples)
    pictures = validation_pictures(manifest, samples)
    request.say("fitting the decision")
    decision, words = _fitted(request.model, manifest, scans, pictures)
    new = msgspec.structs.replace(
        manifest,
        version=request.version or f"{manifest.version.partition('+')[0]}+recalibrated",
        decision=decision,
        provenance={
            **manifest.provenance,
            "thresholds": words,
            "recalibrated_with": edgebrain.__version__,
            "recalibrated_from": f"{manifest.id} {manifest.version}",
            "recalibrated_data_sha256": digest(samples),
        },
    )
    return Recalibrated(decision, words, len(scans.targets), _write(request, bundle, new, samples, words))


def _fitted(
    model: str | Path, manifest: bundles.Manifest, scans: PreparedSet, pictures: PreparedSet | None
) -> tuple[DecisionSpec, str]:
    """The decision, fitted on the file that runs by default, and what it rests on in words."""
    negative = None if manifest.negative_label is None else manifest.labels.index(manifest.negative_label)
    with closing(Classifier.load(model, engine="onnxruntime")) as classifier:
        logits = outputs_on(classifier.engine, scans)["logits"]
    fitted = fit_decision(logits, scans.targets, negative)
    # A second reader raises the score of what the first is in doubt about; the limit is that of the first alone, which
    # is all there is when the model is adapted.
    with closing(Classifier.load(model, engine="onnxruntime", second_reader=False)) as classifier:
        outliers = outputs_on(classifier.engine, scans).get("outlier")
        if outliers is None:
            return fitted.spec, fitted.describe()
        others = None if pictures is None else outputs_on(classifier.engine, pictures)["outlier"]
    limit = fit_outlier_limit(outliers, np.empty(0, np.float32) if others is None else others)
    return msgspec.structs.replace(fitted.spec, max_outlier=limit.limit), f"{fitted.describe()}; {limit.describe()}"


def _write(
    request: Recalibration, bundle: bundles.Bundle, manifest: bundles.Manifest, samples: Sequence[Sample], words: str
) -> dict[str, Evaluation]:
    cpu = {artifact.precision for artifact in bundle.artifacts("onnxruntime")}
    precisions = [precision for precision in (Precision.FP32, Precision.INT8) if precision in cpu]
    with replacing(request.output) as folder:
        for entry in bundles.files_of(manifest):
            (folder / entry.file).write_bytes(bundle.read(entry))
        for text in bundles.TEXTS:
            keep_text(bundle.folder / text, folder)
        bundles.write_manifest(folder, manifest)
        request.say("measuring the bundle with its new decision")
        evidence = gather(folder, precisions, samples)
        metrics = {p: headline(e, request.data_name) for p, e in evidence.evaluations.items()}
        gate = manifest.metrics.get("int8", {}).get("gate")
        if gate is not None and "int8" in metrics:  # of the same files; a decision has no part in it but a threshold
            metrics["int8"]["gate"] = gate
        key, both = _both(request, manifest)
        if both and "int8" in metrics:
            metrics["int8"][key] = {split: found.to_dict() for split, found in both.items()}
        manifest = msgspec.structs.replace(manifest, metrics=metrics)
        bundles.write_manifest(folder, manifest)
        comparison = None if gate is None else msgspec.convert(gate, Comparison)
        compared = Compared(comparison, both, exact=key == OF_BOTH)
        write_card(
            folder / bundles.CARD,
            manifest,
            evidence,
            words,
            compared,
            data_name=request.data_name,
            left_out=request.left_out,
        )
    return evidence.evaluations


def _both(request: Recalibration, manifest: bundles.Manifest) -> tuple[str, dict[str, Comparison]]:
    """What two readers in INT8 were compared with, and how they compare, by split; empty where they were not."""
    if manifest.second_reader is None:
        return OF_BOTH, {}
    if request.compare is not None:
        request.say("comparing the precisions of both readers")
        return request.compare.key, request.compare(manifest.decision)
    known = manifest.metrics.get("int8", {})
    key = BESIDE_SECOND if BESIDE_SECOND in known else OF_BOTH
    return key, {split: msgspec.convert(found, Comparison) for split, found in known.get(key, {}).items()}
