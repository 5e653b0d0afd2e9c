"""A classifier on labelled scans under every stress: read once, changed, and then the way that a scan goes in use."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgebrain.errors import ScanError, UsageError
from edgebrain.evaluation.case import Case, make_case
from edgebrain.evaluation.stress_record import StressReport, StressRow
from edgebrain.intervals import bootstrap, estimate, proportion
from edgebrain.labelled import NOT_BRAIN_MRI
from edgebrain.metrics import ratio
from edgebrain.readers import read_middle
from edgebrain.ready import ReadyScan, refused
from edgebrain.stress.changes import STRESSES, Stress, apply
from edgebrain.types import Triage

if TYPE_CHECKING:
    from edgebrain.classifier import Classifier
    from edgebrain.labelled import Sample
    from edgebrain.metrics import Flags
    from edgebrain.types import AnyPixels, Float64, Prediction, Scan

_ROUNDING = 1e-9  # points; a change of exactly the limit is within it


class Answers(NamedTuple):
    """What the model says of one scan under S stresses.

    Attributes:
        probabilities: float64 [S, K]; all the same where there is no answer.
        triage: S values of ``Triage``.
        answered: bool [S].
    """

    probabilities: Float64
    triage: tuple[str, ...]
    answered: Flags


Follow = Callable[[Iterable[Answers]], Iterator[Answers]]


def stress_samples(
    classifier: Classifier,
    samples: Sequence[Sample],
    *,
    stresses: Sequence[Stress] = STRESSES,
    batch_size: int = 8,
    follow: Follow = iter,
    resamples: int = 1000,
    seed: int = 0,
) -> StressReport:
    """Classify labelled scans under every stress and compare with the same scans as they are.

    One decoded scan is held at a time, and at most ``batch_size * (classifier.workers + 1)`` prepared inputs.

    Args:
        classifier: What is measured.
        samples: Labelled files; of several frames the middle one counts. Intervals count groups where every sample has
            one.
        stresses: What is done to them; the first one leaves the scans as they are.
        batch_size: Scans that the engine gets at a time.
        follow: Watches the answers go by, one a scan, for a progress bar.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.

    Raises:
        UsageError: No scan could be used, or the labels do not fit the model.
        EngineFailed: The engine broke.
    """
    samples = only_scans(classifier, samples)
    kept: list[tuple[Sample, Answers]] = []
    with closing(_answers(classifier, samples, stresses, batch_size)) as answers:
        for sample, answer in zip(samples, follow(answers), strict=True):
            if answer.answered[0]:
                kept.append((sample, answer))
    if not kept:
        raise UsageError("None of the scans could be used.", remedy="Run 'edgebrain audit' on the data.")
    answered = np.stack([answer.answered for _, answer in kept], axis=1)
    cases = [_case(classifier, kept, number) for number in range(len(stresses))]
    return StressReport(
        mode="tumor_vs_none" if cases[0].collapsed else "labels",
        n=len(kept),
        n_failed=len(samples) - len(kept),
        n_groups=None if cases[0].groups is None else len(set(cases[0].groups.tolist())),
        rows=_rows(stresses, cases, answered, resamples, seed),
        resamples=resamples,
        seed=seed,
    )


def only_scans(classifier: Classifier, samples: Sequence[Sample]) -> list[Sample]:
    """What is labelled as no brain MRI left out, unless the model has that label: nothing here is asked of it."""
    known = classifier.bundle.manifest.labels
    return [sample for sample in samples if sample.label != NOT_BRAIN_MRI or NOT_BRAIN_MRI in known]


def _answers(
    classifier: Classifier, samples: Sequence[Sample], stresses: Sequence[Stress], batch_size: int
) -> Generator[Answers, None, None]:
    labels = classifier.bundle.manifest.labels
    changed = (ready for sample in samples for ready in _changed(classifier, sample.path, stresses))
    with closing(predict_all(classifier, changed, batch_size)) as predictions:
        while one := list(itertools.islice(predictions, len(stresses))):
            yield Answers(
                np.array([[p.probabilities.get(label, 1 / len(labels)) for label in labels] for p in one]),
                tuple((p.triage or Triage.CANNOT_ASSESS).value for p in one),
                np.array([p.status == "ok" for p in one]),
            )


def _changed(classifier: Classifier, path: str, stresses: Sequence[Stress]) -> Iterator[ReadyScan]:
    try:
        scan = read_middle(path)
    except ScanError as error:
        yield from (refused(path, error) for _ in stresses)
        return
    for stress in stresses:
        yield ready_scan(classifier, scan, apply(stress, scan.pixels, scan.sha256 or path))


def ready_scan(classifier: Classifier, scan: Scan, pixels: AnyPixels) -> ReadyScan:
    """Prepare the pixels of a scan that was changed; what the file says of it otherwise stays."""
    ready = next(classifier.read(pixels))
    if ready.scan is None:
        return replace(ready, path=scan.source)
    known = replace(ready.scan, source=scan.source, color_fraction=scan.color_fraction, format=scan.format)
    return replace(ready, path=scan.source, scan=known)


def predict_all(
    classifier: Classifier, ready: Iterable[ReadyScan], batch_size: int
) -> Generator[Prediction, None, None]:
    """Predictions in order; as many batches run side by side as the classifier was loaded for."""
    scans = iter(ready)
    running: deque[Future[list[Prediction]]] = deque()
    pool = ThreadPoolExecutor(classifier.workers, thread_name_prefix="edgebrain-stress")
    try:
        while batch := list(itertools.islice(scans, batch_size)):
            running.append(pool.submit(classifier.predict, batch))
            if len(running) > classifier.workers - 1:
                yield from running.popleft().result()
        while running:
            yield from running.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _case(classifier: Classifier, kept: Sequence[tuple[Sample, Answers]], number: int) -> Case:
    manifest = classifier.bundle.manifest
    grouped = all(sample.group for sample, _ in kept)
    return make_case(
        manifest.labels,
        manifest.negative_label,
        [sample.label for sample, _ in kept],
        np.stack([answer.probabilities[number] for _, answer in kept]),
        triage=[answer.triage[number] for _, answer in kept],
        groups=[sample.group for sample, _ in kept] if grouped else None,
    )


def _shares(case: Case, answered: Flags) -> list[tuple[Flags, Flags]]:
    """What is counted, and among what, in the order of the fields of StressRow."""
    everything = np.ones(case.truth.size, np.bool_)
    nothing = ~everything
    tumor = nothing if case.negative is None else case.truth != case.negative
    others = nothing if case.negative is None else case.truth == case.negative
    called = case.predicted != (-1 if case.negative is None else case.negative)
    return [
        (case.correct & answered, everything),
        (called & answered, tumor),
        (~called & answered, others),
        (~case.assessed, everything),
        (case.triage == Triage.STANDARD.value, tumor),
    ]


def _rows(
    stresses: Sequence[Stress], cases: Sequence[Case], answered: Flags, resamples: int, seed: int
) -> tuple[StressRow, ...]:
    shares = [_shares(case, known) for case, known in zip(cases, answered, strict=True)]
    flat = [share for row in shares for share in row]
    hits = np.stack([hit & among for hit, among in flat], axis=1).astype(np.float64)
    members = np.stack([among for _, among in flat], axis=1).astype(np.float64)

    def statistic(weights: Float64) -> Float64:
        return ratio(weights @ hits, weights @ members)

    groups, n = cases[0].groups, cases[0].truth.size
    draws = bootstrap(statistic, n, groups, resamples=resamples, seed=seed).reshape(resamples, len(stresses), -1)
    rows = []
    for k, stress in enumerate(stresses):
        accuracy, sensitivity, specificity, abstention, standard = (
            proportion(*share, groups, draws[:, k, m]) for m, share in enumerate(shares[k])
        )
        # Counted, not subtracted as shares, so that nothing is rounded before it is held against the limit.
        points = 100 * (int(shares[k][0][0].sum()) - int(shares[0][0][0].sum())) / n
        row = StressRow(
            name=stress.name,
            description=stress.description,
            n=n,
            n_refused=int((~answered[k]).sum()),
            accuracy=accuracy,
            tumor_sensitivity=sensitivity,
            tumor_specificity=specificity,
            abstention=abstention,
            tumors_standard=standard,
            change=estimate(points, 100 * (draws[:, k, 0] - draws[:, 0, 0]), clustered=groups is not None),
            limit=stress.limit,
            within_limit=is_within(points, stress.limit),
        )
        rows.append(row)
    return tuple(rows)


def is_within(points: float, limit: float | None) -> bool:
    """Whether a change of accuracy in points is no greater loss than a limit; always where there is none."""
    return limit is None or points >= -limit - _ROUNDING
