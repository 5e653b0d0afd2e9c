"""Meta-learned heads for a bundle: learned on the embedding that the bundle itself gives, and packed into it.

The graph is not touched. Scans are run once through the bundle's float graph; everything after that is a linear layer,
so a head costs seconds. What comes out is where ``edgebrain adapt`` starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import edgebrain
from edgebrain import bundle as bundles
from edgebrain.asked import asked_label
from edgebrain.classifier import Classifier
from edgebrain.errors import UsageError
from edgebrain.heads import Head, write_head
from edgebrain.inner import Start
from edgebrain.intervals import Estimate
from edgebrain.labelled import ANY_TUMOR, NO_TUMOR, Sample
from edgebrain.place import check_output, replacing
from edgebrain.train.data import digest
from edgebrain.train.episodes import EpisodeSampler, Indices, pool_of
from edgebrain.train.few_shot import SPLITS, groups_of
from edgebrain.train.heads import HeadConfig, meta_learn, standardise
from edgebrain.train.judging import accuracy_of, head_solver, judge
from edgebrain.types import Float32

from .contents import keep_text

HEADS: dict[str, tuple[str, ...]] = {"glioma-meningioma": ("glioma", "meningioma"), "tumor": (NO_TUMOR, ANY_TUMOR)}
"""Heads that come with a bundle, and their labels."""
SHOTS, QUERIES, EPISODES = 5, 15, 600
_BATCH = 16


@dataclass(frozen=True)
class PackedHead:
    """A head that was learned, with its figure on groups that it never saw."""

    name: str
    labels: tuple[str, ...]
    start: Start
    head: Head
    accuracy: Estimate


def add_heads(
    model: str | Path, samples: Sequence[Sample], output: Path, *, seed: int = 0, follow: Callable[[], None]
) -> list[PackedHead]:
    """Meta-learn the heads of a bundle and write the bundle with them.

    Args:
        model: The bundle; it is not changed unless ``output`` is its own folder.
        samples: Labelled scans with the splits of the model's training: train teaches, val chooses, test judges.
        output: Folder to write; may be the bundle's own.
        seed: Seed of episodes and first weights.
        follow: Is told after each scan.

    Returns:
        The heads.

    Raises:
        UsageError: The bundle has no embedding, or the data no classes for a head.
        EdgebrainError: The bundle, the data or the output cannot be used.
    """
    check_output(output)
    bundle = bundles.open_bundle(model)
    if bundle.manifest.graph.embedding is None:
        raise UsageError(f"The graph of {bundle.manifest.id} has no output 'embedding', and heads stand on it.")
    usable = [s for s in samples if s.split in SPLITS and not s.copy_of and not s.conflict]
    with closing(Classifier.load(model, precision="fp32", second_reader=False)) as classifier:
        kept, embedding = embed(classifier, usable, follow)
    made = [made for name, labels in HEADS.items() if (made := _learn(name, labels, kept, embedding, seed)) is not None]
    if not made:
        raise UsageError(
            "The data has the classes of no head in train, val and test.",
            remedy="Make splits with: edgebrain audit DIR... --splits FILE.csv",
        )
    _write(bundle, made, samples, output)
    return made


def embed(
    classifier: Classifier, samples: Sequence[Sample], follow: Callable[[], None]
) -> tuple[list[Sample], Float32]:
    """Embeddings [N, D] of the scans that can be read; of a file with several frames the first."""
    kept: list[Sample] = []
    parts: list[Float32] = []
    for begin in range(0, len(samples), _BATCH):
        images = []
        for sample in samples[begin : begin + _BATCH]:
            ready = next(classifier.read(sample.path))
            if ready.prepared is not None:
                kept.append(sample)
                images.append(ready.prepared.image)
            follow()
        if images:
            parts.append(classifier.engine.run(np.stack(images))["embedding"])
    if not parts:
        raise UsageError("None of the scans could be read.")
    return kept, np.concatenate(parts)


def _learn(
    name: str, labels: tuple[str, ...], samples: Sequence[Sample], embedding: Float32, seed: int
) -> PackedHead | None:
    targets = np.array([_target(s.label, labels) for s in samples], np.intp)
    splits, groups = np.array([s.split for s in samples]), groups_of(samples)
    rows = {split: np.flatnonzero((targets >= 0) & (splits == split)) for split in SPLITS}
    if any(len(np.unique(targets[chosen])) < len(labels) for chosen in rows.values()):
        return None
    base = standardise(embedding[rows["train"]], len(labels))
    features = base.features(embedding)

    def sampler(split: str) -> EpisodeSampler:
        return _sampler(targets, groups, rows[split], seed)

    start = meta_learn(features, sampler("train"), sampler("val"), HeadConfig(), seed=seed)
    accuracy = accuracy_of(judge(head_solver(features, start), sampler("test"), EPISODES))
    assert start.weight is not None
    assert start.bias is not None
    return PackedHead(name, labels, start, Head(base.mean, base.scale, start.weight, start.bias), accuracy)


def _sampler(targets: Indices, groups: Indices, rows: Indices, seed: int) -> EpisodeSampler:
    task = tuple(range(int(targets.max()) + 1))
    return EpisodeSampler(pool_of(targets, rows), groups, [task], shots=SHOTS, queries=QUERIES, seed=seed)


def _target(label: str, labels: tuple[str, ...]) -> int:
    asked = asked_label(label, labels)
    return labels.index(asked) if asked in labels else -1


def _write(bundle: bundles.Bundle, made: Sequence[PackedHead], samples: Sequence[Sample], output: Path) -> None:
    manifest = bundle.manifest
    with replacing(output) as folder:
        for entry in bundles.files_of(msgspec.structs.replace(manifest, heads=())):
            (folder / entry.file).write_bytes(bundle.read(entry))
        for text in bundles.TEXTS:
            keep_text(bundle.folder / text, folder)
        specs = []
        for one in made:
            file = f"head.{one.name}.npz"
            (folder / file).write_bytes(write_head(one.head))
            hashed = bundles.describe_file(folder / file)
            negative = NO_TUMOR if NO_TUMOR in one.labels else None
            lr = float(one.start.lr)
            specs.append(
                bundles.HeadSpec(one.name, one.labels, negative, lr, one.start.steps, file, hashed.sha256, hashed.bytes)
            )
        heads = {one.name: _provenance(one) for one in made}
        provenance = {
            **manifest.provenance,
            "heads": {"made_with": edgebrain.__version__, "data_sha256": digest(samples), **heads},
        }
        bundles.write_manifest(folder, msgspec.structs.replace(manifest, heads=tuple(specs), provenance=provenance))


def _provenance(one: PackedHead) -> dict[str, Any]:
    return {"shots": SHOTS, "queries": QUERIES, "episodes": EPISODES, "accuracy": asdict(one.accuracy)}
