"""Several models in one table, measured by one code path on the same scans."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from edgebrain.errors import UsageError
from edgebrain.evaluation.measure import evaluate_arrays
from edgebrain.intervals import Estimate
from edgebrain.types import Triage

if TYPE_CHECKING:
    from edgebrain.evaluation.record import Evaluation
    from edgebrain.labelled import Sample
    from edgebrain.metrics import Numbers

COMPARISON_SCHEMA = 1
FIGURES = (
    "accuracy",
    "macro_f1",
    "macro_f2",
    "auroc",
    "sensitivity",
    "specificity",
    "macro_precision",
    "macro_recall",
    "ece",
)


@dataclass(frozen=True)
class Entry:
    """One row.

    Attributes:
        name: The recipe, or the bundle's id.
        kind: ``run``, ``bundle``, or ``recipe`` for one that was not trained here.
        place: Folder of the run or the bundle; empty for a recipe.
        system: The system of the literature that it reproduces, where that is known.
        labels: Labels in order.
        scans: Test scans.
        test: Digest of which scans these are; models with another one were tested on other scans.
        figures: Estimates by the names in FIGURES; empty where it was not trained. Sensitivity and specificity are of
            any tumour against none; with no negative label they are undefined.
        recall: Recall by label.
        parameters: Numbers in the network, where known.
        seconds: Training time, where known.
        epochs: Epochs trained at most and the one kept, in words.
        command: Command that trains it.
        notes: What a reader must know.
    """

    name: str
    kind: str
    place: str
    system: str
    labels: tuple[str, ...]
    scans: int
    test: str
    figures: dict[str, Estimate]
    recall: dict[str, Estimate]
    parameters: int | None
    seconds: float | None
    epochs: str
    command: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Rows, those that were trained first and of these the most accurate first; intervals are at 95 %.

    Attributes:
        rows: The rows.
        notes: What a reader must know.
        schema: Version of this record.
    """

    rows: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    schema: int = COMPARISON_SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts, numbers and None, never ``nan``."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain


def evaluate_answers(
    labels: Sequence[str], negative: str | None, samples: Sequence[Sample], probabilities: Numbers, *, failed: int = 0
) -> Evaluation:
    """Evaluate the answers of a network that has no operating point yet.

    Args:
        labels: K labels of the model.
        negative: The one that means no tumour, or None.
        samples: N scans, labelled with those; intervals count groups where every scan has one.
        probabilities: float [N, K].
        failed: Number of further scans that got no answer.

    Returns:
        The evaluation; its triage figures only repeat the most probable labels.
    """
    grouped = all(sample.group for sample in samples)
    best = probabilities.argmax(axis=1)
    return evaluate_arrays(
        labels,
        negative,
        [sample.label for sample in samples],
        probabilities,
        [(Triage.STANDARD if labels[k] == negative else Triage.PRIORITISE).value for k in best],
        [sample.group for sample in samples] if grouped else None,
        failed=failed,
    )


def figures_from(evaluation: Evaluation) -> dict[str, Estimate]:
    """The figures of FIGURES, by name."""
    tumor = evaluation.tumor
    return {
        "accuracy": evaluation.accuracy,
        "macro_f1": evaluation.macro_f1,
        "macro_f2": evaluation.macro_f2,
        "auroc": evaluation.auroc,
        "sensitivity": Estimate(None) if tumor is None else tumor.sensitivity,
        "specificity": Estimate(None) if tumor is None else tumor.specificity,
        "macro_precision": evaluation.macro_precision,
        "macro_recall": evaluation.balanced_accuracy,
        "ece": evaluation.calibration.ece,
    }


def scans_digest(samples: Sequence[Sample]) -> str:
    """Name a set of scans, whatever their order, labels and folders: SHA-256 in hex, its first 16 digits."""
    names = sorted(f"{s.source}\0{s.path.rsplit('/', 1)[-1]}" for s in samples)
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def compare(entries: Sequence[Entry], *, allow_different: bool = False) -> Comparison:
    """Put rows into one table.

    Args:
        entries: In any order.
        allow_different: Also put models beside each other that were tested on other scans; the table says so.

    Raises:
        UsageError: They were tested on other scans, and that was not allowed.
    """
    tested = [entry for entry in entries if entry.figures]
    digests = list(dict.fromkeys(entry.test for entry in tested))
    notes: list[str] = []
    if len(digests) > 1:
        first, other = tested[0], next(entry for entry in tested if entry.test != tested[0].test)
        if not allow_different:
            raise UsageError(
                f"{first.place} was tested on {first.scans} scans, {other.place} on {other.scans} others.",
                remedy="Compare runs of the same splits, or take --allow-different.",
            )
        notes.append(
            f"Not all models were tested on the same scans: there are {len(digests)} test sets, and "
            "rows of different ones say nothing about each other."
        )
    if any(not entry.figures for entry in entries):
        notes.append("What was not trained here has no figures; the command beside it would train it.")
    numbers = {digest: chr(ord("A") + place % 26) for place, digest in enumerate(digests)}
    rows = sorted(entries, key=_order)
    if len(digests) > 1:
        rows = [_told(row, numbers) for row in rows]
    return Comparison(tuple(rows), tuple(notes))


def _told(row: Entry, numbers: dict[str, str]) -> Entry:
    return replace(row, notes=(*row.notes, f"test set {numbers[row.test]}")) if row.figures else row


def _order(entry: Entry) -> tuple[bool, float, str]:
    accuracy = entry.figures["accuracy"].value if entry.figures else None
    return (not entry.figures, -(accuracy or 0.0), entry.name)
