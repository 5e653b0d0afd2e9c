"""From a bundle and a few labelled scans to an adapted bundle."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgebrain import bundle as bundles
from edgebrain.adapt.support import Support, contradictions, warnings_of
from edgebrain.engines import EngineOptions, open_engine, record_of, unavailable_because
from edgebrain.engines.headed import read_head
from edgebrain.errors import InvalidManifest, UsageError
from edgebrain.heads import Head, write_head
from edgebrain.inner import Start, careful_temperature, inner_loop, leave_one_out
from edgebrain.intervals import Estimate, group_index, resampling_weights
from edgebrain.intervals import proportion as proportion_of
from edgebrain.labelled import NO_TUMOR
from edgebrain.place import replacing
from edgebrain.selftest import Golden, read_golden, write_golden

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgebrain.bundle import Bundle, HeadSpec, Manifest
    from edgebrain.metrics import Indices

HEAD_FILE = "head.npz"
_GOLDEN_FILE = "golden.npz"
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
    """

    head: Head
    spec: HeadSpec
    accuracy: Estimate
    confusion: tuple[tuple[int, ...], ...]
    temperature: float
    start: str
    warnings: tuple[str, ...]


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
        UsageError: There is no such head, its labels are others, or equal scans have different labels.
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
    weight, bias = inner_loop(features, targets, start)
    left_out = leave_one_out(features, targets, support.groups, start)
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
        temperature=careful_temperature(left_out, targets),
        start=words,
        warnings=tuple(warnings_of(support)),
    )


def write(bundle: Bundle, adapted: Adapted, support: Support, output: Path, name: str | None) -> Manifest:
    """Write the adapted bundle: the graph's own files, the head, golden outputs of this machine, a new manifest.

    Raises:
        ExportError: The folder cannot be written.
        BundleError: A file of the bundle is not what its manifest says.
        EngineError: A graph cannot be run here.
    """
    with replacing(output) as folder:
        manifest = bundle.manifest
        for artifact in manifest.artifacts:
            (folder / artifact.file).write_bytes(bundle.read(artifact))
        (folder / HEAD_FILE).write_bytes(write_head(adapted.head))
        spec = _hashed(adapted.spec, folder)
        draft = msgspec.structs.replace(
            manifest,
            id=name or f"{manifest.id}-adapted",
            description=f"{manifest.id} {manifest.version}, adapted on the device to {', '.join(spec.labels)}",
            labels=spec.labels,
            negative_label=spec.negative_label,
            graph=msgspec.structs.replace(manifest.graph, cam=None),
            decision=msgspec.structs.replace(manifest.decision, temperature=round(adapted.temperature, 4)),
            golden=None,
            metrics={},
            heads=(),
            head=spec,
            provenance=_provenance(bundle, adapted, support),
        )
        bundles.write_manifest(folder, draft)
        golden = _golden(bundle, bundles.Bundle(folder, draft))
        if golden is not None:
            (folder / _GOLDEN_FILE).write_bytes(write_golden(golden))
            draft = msgspec.structs.replace(draft, golden=bundles.describe_file(folder / _GOLDEN_FILE))
            bundles.write_manifest(folder, draft)
        (folder / bundles.CARD).write_text(_card(bundle, draft, adapted), encoding="utf-8")
        for file in ("CHANGELOG.md",):
            if (bundle.folder / file).is_file():
                shutil.copyfile(bundle.folder / file, folder / file)
    return draft


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
        wide = support.embedding.astype(np.float64)
        spread = wide.std(axis=0)
        nothing = np.zeros((ways, wide.shape[1]))
        # One scale for all: a deviation per dimension means little with a handful of scans.
        head = Head(wide.mean(axis=0), np.full(wide.shape[1], max(float(spread.mean()), 1e-6)), nothing, nothing[:, 0])
    return head, Start(ways, lr, steps), "prototypes of the support set"


def _accuracy(guesses: Indices, targets: Indices, groups: Indices) -> Estimate:
    hits = guesses == targets
    everything = np.ones(len(hits), bool)
    if len(np.unique(groups)) == len(groups):
        return proportion_of(hits, everything)
    index = group_index([str(g) for g in groups])
    resampled = np.concatenate([(w @ hits) / w.sum(axis=1) for w in resampling_weights(len(hits), index)])
    return proportion_of(hits, everything, index, resampled)


def _hashed(spec: HeadSpec, folder: Path) -> HeadSpec:
    found = bundles.describe_file(folder / spec.file)
    return msgspec.structs.replace(spec, sha256=found.sha256, bytes=found.bytes)


def _golden(source: Bundle, adapted: Bundle) -> Golden | None:
    """The golden inputs of the source, with what the adapted bundle makes of them here."""
    try:
        inputs = read_golden(source).images
    except InvalidManifest:
        if source.manifest.golden is not None:
            raise
        return None
    golden = Golden(inputs, {})
    for artifact in adapted.manifest.artifacts:
        if unavailable_because(record_of(artifact.engine)) is not None:
            continue
        with closing(open_engine(adapted, artifact, EngineOptions())) as engine:
            rows = [engine.run(inputs[i : i + 1]) for i in range(len(inputs))]
        precision = artifact.precision.value
        golden.logits.setdefault(precision, np.concatenate([row["logits"] for row in rows]))
        if "outlier" in rows[0]:
            golden.outlier.setdefault(precision, np.concatenate([row["outlier"] for row in rows]))
    return golden


def _provenance(bundle: Bundle, adapted: Adapted, support: Support) -> dict[str, Any]:
    import edgebrain

    counts = {label: sum(s.label == label for s in support.samples) for label in adapted.spec.labels}
    return {
        **bundle.manifest.provenance,
        "adapted_from": f"{bundle.manifest.id} {bundle.manifest.version}",
        "adapted_with": edgebrain.__version__,
        "adapted_start": adapted.start,
        "adapted_lr": adapted.spec.lr,
        "adapted_steps": adapted.spec.steps,
        "support_scans": counts,
        "support_groups": int(np.unique(support.groups).size),
        "support_sha256": support.digest,
        "leave_one_out": msgspec.to_builtins(adapted.accuracy),
        "leave_one_out_confusion": [list(row) for row in adapted.confusion],
        "warnings": list(adapted.warnings),
    }


def _card(bundle: Bundle, manifest: Manifest, adapted: Adapted) -> str:
    figure = adapted.accuracy
    interval = (
        "" if figure.low is None or figure.high is None else f" (95 % interval {figure.low:.3f} to {figure.high:.3f})"
    )
    said = "\n".join(f"- {warning}" for warning in adapted.warnings) or "- none"
    return (
        f"# {manifest.id}\n\n{manifest.description}.\n\n"
        f"Leave-one-out accuracy on the scans it was adapted with: {figure.value:.3f}{interval}. No other scan has "
        f"tested it.\n\nStarted from {adapted.start}: {adapted.spec.steps} steps of {adapted.spec.lr:g}.\n\n"
        f"## Warnings\n\n{said}\n\n## Use\n\n{manifest.intended_use}\n\n"
        f"The model below it is described by the card of {bundle.manifest.id} {bundle.manifest.version}.\n"
    )
