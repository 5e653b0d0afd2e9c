"""Shortcut probes of a classifier on labelled scans: what it still says when the tumour is hidden or left out."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgebrain.errors import EngineFailed, ScanError, UsageError
from edgebrain.evaluation.case import Case, make_case
from edgebrain.evaluation.stress import only_scans, ready_scan
from edgebrain.evaluation.stress_record import Answered, MaskedFigures, Masking, ProbeReport, View
from edgebrain.intervals import Estimate, bootstrap, estimate, proportion
from edgebrain.metrics import ratio
from edgebrain.readers import read_middle
from edgebrain.ready import ReadyScan
from edgebrain.stress.probes import coarse_view, fill, find_regions, head_mask, outline_only, without_background
from edgebrain.types import Triage

if TYPE_CHECKING:
    from edgebrain.classifier import Classifier
    from edgebrain.labelled import Sample
    from edgebrain.metrics import Flags
    from edgebrain.types import Float32, Float64, Image8

VIEWS = {
    "outline": "The inside of the head replaced by its mean: outline, background and frame are left.",
    "coarse": "Blurred to 1/16 of the resolution: gross shape and view are left.",
    "no_background": "Everything outside the head black: nothing of the anatomy is gone.",
}
"""Pictures in which something is left out, and what is left."""

LOST = 0.5
"""Fall of the tumour probability that counts as lost."""

_PICTURES = ("hidden", "control", *VIEWS)


@dataclass(frozen=True)
class Probed:
    """The answers about one scan and its changed pictures.

    Attributes:
        clean: float64 [K], probabilities of the scan as it is.
        changed: float64 [5, K], probabilities of hidden, control and the views.
        region: Share of the head that was hidden; None where the scan has no region to hide.
        outside: Share of that region outside of the head.
    """

    clean: Float64
    changed: Float64
    region: float | None
    outside: float


@dataclass(frozen=True)
class _Pictures:
    """The changed pictures of one scan, on their way to the engine."""

    images: tuple[Image8, ...]
    region: float | None
    outside: float


Follow = Callable[[Iterable["Probed | None"]], Iterator["Probed | None"]]


def check_probes(classifier: Classifier) -> None:
    """Say whether a model can be probed, before the first scan is read.

    Raises:
        UsageError: It gives no class-activation maps, or has no label that means no tumour.
    """
    manifest = classifier.bundle.manifest
    if manifest.graph.cam is None:
        raise UsageError(
            f"The model {manifest.id} gives no class-activation maps, and the probes hide what it looks at.",
            remedy="Use a bundle whose manifest names graph.cam, or leave out --probes.",
        )
    if manifest.negative_label is None:
        raise UsageError(
            f"The model {manifest.id} has no label that means no tumour, which the probes ask for.",
            remedy="Use a bundle whose manifest names negative_label, or leave out --probes.",
        )


def probe_samples(
    classifier: Classifier,
    samples: Sequence[Sample],
    *,
    batch_size: int = 8,
    follow: Follow = iter,
    resamples: int = 1000,
    seed: int = 0,
) -> ProbeReport:
    """Probe a classifier; one decoded scan and at most six times ``batch_size`` prepared inputs are held at a time.

    Args:
        classifier: What is probed.
        samples: Labelled files; of several frames the middle one counts. Intervals count groups where every sample has
            one.
        batch_size: Scans that the engine gets at a time.
        follow: Watches the answers go by, one a scan and None for a failed one, for a progress bar.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.

    Raises:
        UsageError: The model cannot be probed, no scan could be used, or the labels do not fit the model.
        EngineFailed: The engine broke.
    """
    check_probes(classifier)
    samples = only_scans(classifier, samples)
    answers = follow(_probed(classifier, samples, batch_size))
    kept = [(s, answer) for s, answer in zip(samples, answers, strict=True) if answer is not None]
    if not kept:
        raise UsageError("None of the scans could be used.", remedy="Run 'edgebrain audit' on the data.")
    clean = _case(classifier, kept, [answer.clean for _, answer in kept])
    changed = [_case(classifier, kept, [a.changed[k] for _, a in kept]) for k in range(len(_PICTURES))]
    draw = _Figures(clean, resamples, seed)
    truths = [clean.labels[k] for k in clean.truth]
    majority, count = Counter(truths).most_common(1)[0]
    everything = np.ones(clean.truth.size, np.bool_)
    return ProbeReport(
        mode="tumor_vs_none" if clean.collapsed else "labels",
        n=len(kept),
        n_failed=len(samples) - len(kept),
        n_groups=None if clean.groups is None else len(set(clean.groups.tolist())),
        accuracy=draw.share(clean.correct, everything),
        majority=majority,
        majority_share=count / len(kept),
        masking=_masking(clean, changed[0], changed[1], [answer for _, answer in kept], draw),
        views=tuple(
            View(
                name,
                description,
                accuracy=draw.share(case.correct, everything),
                same_label=draw.share(case.predicted == clean.predicted, everything),
                answered=_answered(case),
            )
            for case, (name, description) in zip(changed[2:], VIEWS.items(), strict=True)
        ),
        resamples=resamples,
        seed=seed,
    )


# Pictures and answers ------------------------------------------------------------------------------------------------


def _probed(classifier: Classifier, samples: Sequence[Sample], batch_size: int) -> Iterator[Probed | None]:
    rest = iter(samples)
    while part := list(itertools.islice(rest, batch_size)):
        ready = [_ready(classifier, sample.path) for sample in part]
        usable = [one for one in ready if one is not None]
        answers = iter(_probe_batch(classifier, usable) if usable else ())
        yield from (None if one is None else next(answers) for one in ready)


def _ready(classifier: Classifier, path: str) -> ReadyScan | None:
    try:
        scan = read_middle(path)
    except ScanError:
        return None
    ready = ready_scan(classifier, scan, scan.pixels)
    return None if ready.prepared is None else ready


def _probe_batch(classifier: Classifier, ready: Sequence[ReadyScan]) -> list[Probed]:
    images = [one.prepared.image for one in ready if one.prepared is not None]
    clean = _ask(classifier, ready, images)
    maps = classifier.engine.run(np.stack(images)).get("cam")
    if maps is None or maps.ndim != 4 or maps.shape[:2] != clean.shape:  # noqa: PLR2004 - [N, K, h, w]
        raise EngineFailed(f"{classifier.choice.artifact.file} gives no class-activation map per label.")
    pictures = [
        _pictures(image[0], maps[i, int(clean[i].argmax())], one.scan.sha256 if one.scan else one.path)
        for i, (one, image) in enumerate(zip(ready, images, strict=True))
    ]
    changed = [_ask(classifier, ready, [p.images[k][None] for p in pictures]) for k in range(len(_PICTURES))]
    together = np.stack(changed, axis=1)
    return [Probed(clean[i], together[i], p.region, p.outside) for i, p in enumerate(pictures)]


def _ask(classifier: Classifier, ready: Sequence[ReadyScan], images: Sequence[Image8]) -> Float64:
    """Probabilities float64 [N, K] of other prepared images in the place of those of scans."""
    asked = [
        replace(one, prepared=replace(one.prepared, image=np.ascontiguousarray(image)))
        for one, image in zip(ready, images, strict=True)
        if one.prepared is not None
    ]
    labels = classifier.bundle.manifest.labels
    return np.array([[p.probabilities[label] for label in labels] for p in classifier.predict(asked)])


def _pictures(image: Image8, activation: Float32, identity: str) -> _Pictures:
    head = head_mask(image)
    digest = hashlib.blake2b(identity.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    regions = find_regions(activation, head, np.random.default_rng(int.from_bytes(digest, "little")))
    views = (outline_only(image, head), coarse_view(image), without_background(image, head))
    if regions is None:
        return _Pictures((image, image, *views), None, 0.0)
    masked = (fill(image, regions.hot, head), fill(image, regions.control, head))
    area = int(regions.hot.sum())
    return _Pictures((*masked, *views), area / int(head.sum()), int((regions.hot & ~head).sum()) / area)


# Figures -------------------------------------------------------------------------------------------------------------


class _Figures:
    """Figures with their intervals, all from the same resamples."""

    def __init__(self, case: Case, resamples: int, seed: int) -> None:
        self._groups, self._resamples, self._seed = case.groups, resamples, seed

    def share(self, hits: Flags, among: Flags) -> Estimate:
        draws = self._draw((hits & among).astype(np.float64), among)
        return proportion(hits, among, self._groups, draws)

    def mean(self, values: Float64, among: Flags) -> Estimate:
        draws = self._draw(np.where(among, values, 0.0), among)
        value = float(ratio(values[among].sum(), np.array(among.sum())))
        return estimate(value, draws, clustered=self._groups is not None)

    def _draw(self, top: Float64, among: Flags) -> Float64:
        bottom = among.astype(np.float64)

        def statistic(weights: Float64) -> Float64:
            return ratio(weights @ top, weights @ bottom)

        return bootstrap(statistic, top.size, self._groups, resamples=self._resamples, seed=self._seed)


def _case(classifier: Classifier, kept: Sequence[tuple[Sample, Probed]], chances: Sequence[Float64]) -> Case:
    manifest = classifier.bundle.manifest
    return make_case(
        manifest.labels,
        manifest.negative_label,
        [sample.label for sample, _ in kept],
        np.stack(chances),
        triage=[Triage.CANNOT_ASSESS.value] * len(kept),  # probes ask for labels, not for triage
        groups=[sample.group for sample, _ in kept] if all(sample.group for sample, _ in kept) else None,
    )


def _masking(clean: Case, hidden: Case, control: Case, answers: Sequence[Probed], draw: _Figures) -> Masking:
    negative = clean.negative
    assert negative is not None  # check_probes
    right = (clean.truth != negative) & clean.correct
    masked = right & np.array([answer.region is not None for answer in answers])

    def figures(case: Case) -> MaskedFigures:
        drop = case.probabilities[:, negative] - clean.probabilities[:, negative]
        flipped = case.predicted == negative
        return MaskedFigures(
            draw.share(flipped, masked), draw.share(flipped | (drop > LOST), masked), draw.mean(drop, masked)
        )

    chosen = [answer for answer, use in zip(answers, masked, strict=True) if use]
    return Masking(
        n=len(chosen),
        n_without=int((right & ~masked).sum()),
        region_share=float(np.mean([answer.region for answer in chosen])) if chosen else None,
        outside_head=float(np.mean([answer.outside for answer in chosen])) if chosen else None,
        hidden=figures(hidden),
        control=figures(control),
    )


def _answered(case: Case) -> tuple[Answered, ...]:
    rows = []
    for k, truth in enumerate(case.labels):
        predicted = case.predicted[case.truth == k]
        if predicted.size:
            shares = {label: float((predicted == m).mean()) for m, label in enumerate(case.labels)}
            rows.append(Answered(truth, int(predicted.size), shares))
    return tuple(rows)
