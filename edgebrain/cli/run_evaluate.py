"""What ``edgebrain evaluate`` does."""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgebrain.cli.progress import progress
from edgebrain.errors import EXIT_OK, EXIT_SOME_FAILED, UsageError
from edgebrain.evaluation.measure import Evaluation
from edgebrain.evaluation.run import evaluate_samples
from edgebrain.labelled import NOT_BRAIN_MRI, Sample, read_labelled

if TYPE_CHECKING:
    from edgebrain.classifier import Classifier
    from edgebrain.cli.requests import ModelRequest
    from edgebrain.evaluation.stress_record import ProbeReport, StressReport


@dataclass(frozen=True)
class EvaluateRequest:
    """What was asked for; the fields are the options of the command."""

    data: Path
    split: str | None
    model: ModelRequest
    unique: bool
    batch_size: int
    report: Path | None
    as_json: bool
    stress: bool = False
    probes: bool = False


@dataclass(frozen=True)
class _Results:
    evaluation: Evaluation
    stress: StressReport | None
    probes: ProbeReport | None

    def to_dict(self) -> dict[str, object]:
        """The evaluation's own fields, with ``stress`` and ``probes`` beside them where they were asked for."""
        extra = {"stress": self.stress, "probes": self.probes}
        return self.evaluation.to_dict() | {k: v.to_dict() for k, v in extra.items() if v is not None}


def run_evaluate(request: EvaluateRequest) -> int:
    """Classify labelled scans, measure, print and report.

    Returns:
        EXIT_OK, or EXIT_SOME_FAILED when a scan could not be used. A stress over its limit is a figure, not a failure.

    Raises:
        EdgebrainError: The data, the model or the report folder cannot be used, the model cannot be probed, or
            matplotlib is missing for a report; all of them are tried before the first scan.
    """
    with closing(request.model.load()) as classifier:
        samples = read_labelled(request.data, split=request.split, labels=classifier.bundle.manifest.labels)
        if request.unique:
            samples = [sample for sample in samples if not sample.copy_of]
        _check(request, classifier, samples)  # not after an hour of scans
        results = _measure(request, classifier, samples)
        title = f"{classifier.model.id} {classifier.model.version} ({classifier.model.precision}) on {request.data}"
    if request.as_json:
        sys.stdout.write(json.dumps(results.to_dict(), indent=2) + "\n")
    else:
        _print(results, title)
    if request.report is not None:
        _report(results, request.report, title)
    return EXIT_SOME_FAILED if results.evaluation.n_failed else EXIT_OK


def _check(request: EvaluateRequest, classifier: Classifier, samples: list[Sample]) -> None:
    if (request.stress or request.probes) and all(sample.label == NOT_BRAIN_MRI for sample in samples):
        raise UsageError(
            "--stress and --probes change scans, and the data holds only pictures that are no brain MRI.",
            remedy="Leave the options out, or give labelled scans.",
        )
    if request.report is not None:
        from edgebrain.report.write import check_report

        check_report(request.report)
    if request.probes:
        from edgebrain.evaluation.probes import check_probes

        check_probes(classifier)


def _measure(request: EvaluateRequest, classifier: Classifier, samples: list[Sample]) -> _Results:
    with progress(samples, "evaluating") as shown:
        evaluation = evaluate_samples(
            classifier, samples, batch_size=request.batch_size, follow=shown.count, complain=_complain
        )
    stress, probes = None, None
    if request.stress:
        from edgebrain.evaluation.stress import stress_samples

        with progress(samples, "stressing") as shown:
            stress = stress_samples(classifier, samples, batch_size=request.batch_size, follow=shown.count)
    if request.probes:
        from edgebrain.evaluation.probes import probe_samples

        with progress(samples, "probing") as shown:
            probes = probe_samples(classifier, samples, batch_size=request.batch_size, follow=shown.count)
    return _Results(evaluation, stress, probes)


def _report(results: _Results, folder: Path, title: str) -> None:
    from edgebrain.report.stress import appendix
    from edgebrain.report.write import write_report

    command = shlex.join(["edgebrain", *sys.argv[1:]])
    more = appendix(results.stress, results.probes, plots=True)
    page = write_report(results.evaluation, folder, title=title, command=command, more=more)
    sys.stderr.write(f"report: {page}\n")


def _complain(message: str) -> None:
    sys.stderr.write(f"{message}\n")


def _print(results: _Results, title: str) -> None:
    from rich.console import Console

    from edgebrain.report.stress import appendix
    from edgebrain.report.write import print_grids, print_summary

    console = Console()
    console.print(title, markup=False)
    print_summary(results.evaluation, console)
    print_grids(appendix(results.stress, results.probes, plots=False).grids, console)
