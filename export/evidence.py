"""What is measured of a finished bundle, for its card: with the classifier that users will run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgebrain.classifier import Classifier
from edgebrain.errors import UsageError
from edgebrain.evaluation.measure import Evaluation
from edgebrain.evaluation.probes import probe_samples
from edgebrain.evaluation.run import evaluate_samples
from edgebrain.evaluation.stress import stress_samples
from edgebrain.evaluation.stress_record import ProbeReport, StressReport
from edgebrain.labelled import NOT_BRAIN_MRI, Sample
from edgebrain.types import Precision


@dataclass(frozen=True)
class Evidence:
    """Figures of a bundle.

    Attributes:
        evaluations: On the test split, by precision; the default one is last.
        elsewhere: Of the default precision on the ``external`` split, where there is one: other sources.
        stress: Of the default precision on the test split, changed in many ways.
        probes: What the default precision relies on; None for a model without a negative
            label or without activation maps.
    """

    evaluations: dict[str, Evaluation]
    elsewhere: Evaluation | None
    stress: StressReport
    probes: ProbeReport | None


def gather(folder: Path, precisions: Sequence[Precision], samples: Sequence[Sample]) -> Evidence:
    """Measure a bundle.

    Args:
        folder: The bundle.
        precisions: Its precisions, the default one last.
        samples: Labelled scans with splits; copies are left out.

    Raises:
        UsageError: There is no test split.
    """
    unique = [s for s in samples if not s.copy_of]
    judged = [s for s in unique if s.split == "test"]
    scans = [s for s in judged if s.label != NOT_BRAIN_MRI]
    external = [s for s in unique if s.split == "external"]
    if not scans:
        raise UsageError(
            "The data has no test split.", remedy="Make splits with: edgebrain audit DIR... --splits FILE.csv"
        )
    evaluations = {}
    for precision in precisions:
        classifier = Classifier.load(folder, engine="onnxruntime", precision=precision)
        try:
            evaluations[precision.value] = evaluate_samples(classifier, judged)
            if precision is precisions[-1]:
                elsewhere = evaluate_samples(classifier, external) if external else None
                stress = stress_samples(classifier, scans)
                manifest = classifier.bundle.manifest
                blind = manifest.negative_label is None or manifest.graph.cam is None
                probes = None if blind else probe_samples(classifier, scans)
        finally:
            classifier.close()
    return Evidence(evaluations, elsewhere, stress, probes)
