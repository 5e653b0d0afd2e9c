"""From a bundle and a few labelled scans to a head, and to how good it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgebrain import bundle as bundles
from edgebrain.adapt.support import Support, contradictions, warnings_of
from edgebrain.engines.headed import read_head
from edgebrain.errors import UsageError
from edgebrain.heads import Head
from edgebrain.inner import Start, careful_temperature, inner_loop, leave_one_out
from edgebrain.intervals import Estimate, group_index, resampling_weights
from edgebrain.intervals import proportion as proportion_of
from edgebrain.labelled import NO_TUMOR

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgebrain.bundle import Bundle, HeadSpec
    from edgebrain.metrics import Flags, Indices
    from edgebrain.types import Float32, Float64

HEAD_FILE = "head.npz"
_LARGEST_LOGIT = 1e4
"""Steps of a sensible size leave logits of some tens. Far beyond, a head is sure of whatever it is shown; here it is
refused, doubt begins earlier."""
LR, STEPS = 1.0, 20
"""Of the inner loop where no meta-learned head says otherwise."""


@dataclass(frozen=True)
class Options:
    """What the caller chose; None leaves it to the head.

    Attributes:
        head: Name of the head to start from.
        steps: Steps of the inner loop.
        lr: Size of a step.
        name: Name of the new model.
    """

    head: str | None = None
    steps: int | None = None
    lr: float | None = None
    name: str | None = None


@dataclass(frozen=True)
class Adapted:
    """A head that was learned, not yet written.

    Attributes:
        head: Its numbers.
        spec: What the manifest will say of it, but its hash.
        accuracy: Leave-one-group-out accuracy on the support set.
        confusion: Counts of the same, a row a true label.
        temperature: Of its logits.
        start: Where it started, in words.
        warnings: What a person should know.
        recorded: The same without names of files, for the bundle.
    """

    head: Head
    spec: HeadSpec
    accuracy: Estimate
    confusion: tuple[tuple[int, ...], ...]
    temperature: float
    start: str
    warnings: tuple[str, ...]
    recorded: tuple[str, ...]


def check_bundle(bundle: Bundle) -> None:
    """Refuse a model that cannot be adapted, before any scan is read.

    Raises:
        UsageError: Its graph has no embedding.
    """
    if bundle.manifest.graph.embedding is None:
        raise UsageError(
            f"The graph of {bundle.manifest.id} has no output 'embedding', and heads stand on it.",
            remedy="Adapt a model that has one, such as edge.",
        )


def learn(bundle: Bundle, support: Support, options: Options) -> Adapted:
    """Learn a head from a support set, and judge it on scans that it was not shown.

    Raises:
        UsageError: There is no such head, its labels are others, equal scans have different labels, or the steps do
            not converge.
        BundleError: The head's file is not what the manifest says.
    """
    clashing = contradictions(support)
    if clashing:
        raise UsageError(f"The same pixels have two labels: {clashing[0]}.", remedy="Keep one of them.")
    present = sorted({s.label for s in support.samples})
    chosen = _choose(bundle, present, options.head)
    labels = chosen.labels if chosen is not None else tuple(present)
    base, start, words = _start(bundle, support, chosen, options, len(labels))
    targets = np.array([labels.index(s.label) for s in support.samples], np.intp)
    features = base.features(support.embedding)
    with np.errstate(all="ignore"):  # what does not converge is refused below, in words
        weight, bias = inner_loop(features, targets, start)
        left_out = leave_one_out(_features(bundle, support, base), targets, support.groups, start)
        _check_converged(weight, bias, left_out)
    guesses = left_out.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), np.intp)
    np.add.at(confusion, (targets, guesses), 1)
    negative = chosen.negative_label if chosen is not None else (NO_TUMOR if NO_TUMOR in labels else None)
    return Adapted(
        head=Head(base.mean, base.scale, weight, bias),
        spec=bundles.HeadSpec(
            chosen.name if chosen is not None else "prototypes",
            labels,
            negative,
            start.lr,
            start.steps,
            HEAD_FILE,
            "",
            0,
        ),
        accuracy=_accuracy(guesses, targets, support.groups),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        temperature=careful_temperature(left_out, targets, support.groups),
        start=words,
        warnings=tuple(warnings_of(support)),
        recorded=tuple(warnings_of(support, names=False)),
    )


def _choose(bundle: Bundle, present: Sequence[str], name: str | None) -> HeadSpec | None:
    heads = {head.name: head for head in bundle.manifest.heads}
    if name is None:
        return next((head for head in heads.values() if sorted(head.labels) == list(present)), None)
    if name not in heads:
        known = ", ".join(heads) or "none; leave --head out to start from prototypes"
        raise UsageError(f"{bundle.manifest.id} has no head {name!r}.", remedy=f"Its heads: {known}.")
    if sorted(heads[name].labels) != list(present):
        raise UsageError(
            f"The head {name} tells {', '.join(heads[name].labels)} apart; the scans show {', '.join(present)}.",
            remedy="Leave --head out to start from prototypes.",
        )
    return heads[name]


def _start(
    bundle: Bundle, support: Support, chosen: HeadSpec | None, options: Options, ways: int
) -> tuple[Head, Start, str]:
    lr = options.lr if options.lr is not None else (chosen.lr if chosen is not None else LR)
    steps = options.steps if options.steps is not None else (chosen.steps if chosen is not None else STEPS)
    if chosen is not None:
        head = read_head(bundle, chosen)
        return head, Start(ways, lr, steps, head.weight, head.bias), f"the meta-learned head {chosen.name}"
    if bundle.manifest.heads:
        # Any head knows what embeddings look like; only its rows belong to its labels.
        head = read_head(bundle, bundle.manifest.heads[0])
    else:
        head = _standardising(support.embedding, ways)
    return head, Start(ways, lr, steps), "prototypes of the support set"


def _standardising(embedding: Float32, ways: int) -> Head:
    """A head without rows of its own that knows what these embeddings look like."""
    wide = embedding.astype(np.float64)
    spread = float(wide.std(axis=0).mean())
    nothing = np.zeros((ways, wide.shape[1]))
    # One scale for all: a deviation per dimension means little with a handful of scans.
    return Head(wide.mean(axis=0), np.full(wide.shape[1], max(spread, 1e-6)), nothing, nothing[:, 0])


def _features(bundle: Bundle, support: Support, base: Head) -> Float64 | Callable[[Flags], Float64]:
    """Features to leave scans out of: mean and scale come from scans too, where the bundle has no head."""
    if bundle.manifest.heads:
        return base.features(support.embedding)
    return lambda kept: _standardising(support.embedding[kept], len(base.bias)).features(support.embedding)


def _check_converged(weight: Float64, bias: Float64, left_out: Float64) -> None:
    # Features have length one, so that this is the largest logit of any scan. Nan is not below the limit either.
    largest = np.linalg.norm(weight, axis=1) + np.abs(bias)
    if not ((largest < _LARGEST_LOGIT).all() and (np.abs(left_out) < _LARGEST_LOGIT).all()):
        raise UsageError("The steps do not converge.", remedy="Lower --lr.")


def _accuracy(guesses: Indices, targets: Indices, groups: Indices) -> Estimate:
    hits = guesses == targets
    everything = np.ones(len(hits), bool)
    if len(np.unique(groups)) == len(groups):
        return proportion_of(hits, everything)
    index = group_index([str(g) for g in groups])
    resampled = np.concatenate([(w @ hits) / w.sum(axis=1) for w in resampling_weights(len(hits), index)])
    return proportion_of(hits, everything, index, resampled)
