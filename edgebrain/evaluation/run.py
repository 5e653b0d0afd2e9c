"""A classifier on labelled files: every scan goes the way it goes in use, then the answers are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgebrain.errors import UsageError
from edgebrain.evaluation.measure import Evaluation, evaluate_arrays, without_scans
from edgebrain.evaluation.outliers import Seen, outlier_figures
from edgebrain.inputs import Middle
from edgebrain.labelled import NOT_BRAIN_MRI, Sample
from edgebrain.pipeline import run_pipeline

if TYPE_CHECKING:
    from edgebrain.classifier import Classifier
    from edgebrain.manifest import Manifest
    from edgebrain.types import Prediction

    Answered = tuple[Sample, Prediction]

Follow = Callable[[Iterable["Prediction"]], Iterator["Prediction"]]


def evaluate_samples(
    classifier: Classifier,
    samples: Sequence[Sample],
    *,
    batch_size: int = 8,
    follow: Follow = iter,
    complain: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Classify labelled scans and measure the answers.

    Args:
        classifier: What is measured.
        samples: Labelled files; of several frames the middle one counts, as in training. Intervals count groups where
            every scan has one. Files labelled ``not_brain_mri`` are classified, too, and measured apart.
        batch_size: Scans that the engine gets at a time.
        follow: Watches the records go by, for a progress bar.
        complain: Takes the message of each scan that could not be used.

    Raises:
        UsageError: No scan could be used, or the labels do not fit the model.
    """
    manifest = classifier.bundle.manifest
    answered: list[Answered] = []
    failed = 0
    predictions = follow(run_pipeline(classifier, (Middle(s.path) for s in samples), batch_size=batch_size))
    for sample, prediction in zip(samples, predictions, strict=True):
        if prediction.status == "ok":
            answered.append((sample, prediction))
        else:
            failed += 1
            complain(prediction.error.message if prediction.error else sample.path)
    if not answered:
        raise UsageError("None of the scans could be used.", remedy="Run 'edgebrain audit' on the data.")
    scans = [(sample, answer) for sample, answer in answered if not _is_picture(sample, manifest)]
    evaluation = _on_scans(manifest, scans, failed=failed)
    if len(scans) == len(answered) and manifest.graph.outlier is None:
        return evaluation
    return _with_outliers(evaluation, manifest, answered)


def _is_picture(sample: Sample, manifest: Manifest) -> bool:
    # A model may have learned such pictures as one more label: then they are judged as scans are.
    return sample.label == NOT_BRAIN_MRI and NOT_BRAIN_MRI not in manifest.labels


def _on_scans(manifest: Manifest, answered: Sequence[Answered], *, failed: int) -> Evaluation:
    if not answered:
        return without_scans(manifest.labels, manifest.negative_label, failed=failed)
    grouped = all(sample.group for sample, _ in answered)
    return evaluate_arrays(
        manifest.labels,
        manifest.negative_label,
        [sample.label for sample, _ in answered],
        np.array([[p.probabilities[label] for label in manifest.labels] for _, p in answered]),
        [p.triage.value for _, p in answered if p.triage is not None],
        [sample.group for sample, _ in answered] if grouped else None,
        failed=failed,
    )


def _with_outliers(evaluation: Evaluation, manifest: Manifest, answered: Sequence[Answered]) -> Evaluation:
    seen = [
        Seen(_is_picture(sample, manifest), sample.source, answer.triage, answer.outlier_score)
        for sample, answer in answered
        if answer.triage is not None
    ]
    # A picture seldom has a group: then it is one of its own, beside the groups of the scans.
    grouped = evaluation.n_groups is not None or (evaluation.n == 0 and any(sample.group for sample, _ in answered))
    figures = outlier_figures(
        seen,
        manifest.decision.max_outlier,
        groups=[f"group {s.group}" if s.group else f"file {s.path}" for s, _ in answered] if grouped else None,
        resamples=evaluation.resamples,
        seed=evaluation.seed,
    )
    notes = evaluation.notes
    if figures.n and evaluation.n:
        notes += ("Pictures that are no brain MRI are in no figure but those on outliers.",)
    return replace(evaluation, outliers=figures, notes=notes)
