"""A classifier on labelled files: every scan goes the way it goes in use, then the answers are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgebrain.errors import UsageError
from edgebrain.evaluation.measure import Evaluation, evaluate_arrays
from edgebrain.inputs import Middle
from edgebrain.labelled import Sample
from edgebrain.pipeline import run_pipeline

if TYPE_CHECKING:
    from edgebrain.classifier import Classifier
    from edgebrain.types import Prediction

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
            every sample has one.
        batch_size: Scans that the engine gets at a time.
        follow: Watches the records go by, for a progress bar.
        complain: Takes the message of each scan that could not be used.

    Raises:
        UsageError: No scan could be used, or the labels do not fit the model.
    """
    manifest = classifier.bundle.manifest
    answered: list[tuple[Sample, Prediction]] = []
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
