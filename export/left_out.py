"""Models that were trained without one of the sources, as the model card shows them: what another hospital may see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgebrain.errors import UsageError
from edgebrain.evaluation.record import EVALUATION_SCHEMA, Evaluation
from edgebrain.intervals import Estimate

from .markup import for_people, percent, table

_HOW = "edgebrain evaluate splits.csv --split test --unique --model DIR --json > REPORT.json"


@dataclass(frozen=True)
class LeftOut:
    """A source that a model was trained without.

    Attributes:
        name: The source, and what the model is, for people.
        evaluation: Of that model, on the source.
    """

    name: str
    evaluation: Evaluation


def read_left_out(given: Sequence[str]) -> tuple[LeftOut, ...]:
    """Read ``NAME=REPORT.json``, as ``edgebrain evaluate --json`` wrote it.

    Raises:
        UsageError: One is not of that form, cannot be read, is no such report or cannot be one; or two have one name.
    """
    found = tuple(_read(one) for one in given)
    name, times = max(Counter(one.name for one in found).items(), key=lambda item: item[1], default=("", 0))
    if times > 1:
        raise UsageError(f"--left-out has {name!r} twice.", remedy="Give each its own name.")
    return found


def _read(given: str) -> LeftOut:
    name, _, file = given.partition("=")
    if not (name.strip() and file):
        raise UsageError(f"{given!r} is not NAME=REPORT.json.", remedy=f"The report comes from: {_HOW}")
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise UsageError(
            f"Cannot read {file!r}: {error.strerror or error}.", remedy="--left-out takes NAME=REPORT.json."
        ) from error
    try:
        found = msgspec.json.decode(data, type=Evaluation)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{file!r} is no report of an evaluation: {error}.", remedy=f"Make it with: {_HOW}") from error
    if wrong := _impossible(found):
        raise UsageError(f"{file!r} cannot be shown: {wrong}.", remedy=f"Make it with: {_HOW}")
    return LeftOut(for_people(name, "--left-out"), found)


def _impossible(found: Evaluation) -> str:
    """What no evaluation of this edgebrain gives, in words; empty where there is nothing of that kind."""
    if found.schema != EVALUATION_SCHEMA:
        return f"it has version {found.schema} of the record, and this edgebrain reads {EVALUATION_SCHEMA}"
    tumor = found.tumor
    if tumor is None:
        return "its model does not say whether there is a tumour"
    if min(tumor.tumors, tumor.others) < 0 or tumor.tumors + tumor.others != found.n:
        return f"it has {tumor.tumors} tumours and {tumor.others} others among {found.n} scans"
    shares = (found.accuracy, tumor.sensitivity, tumor.standard, tumor.specificity)
    return "" if all(map(_is_share, shares)) else "a share is not between 0 and 1"


def _is_share(estimate: Estimate) -> bool:
    return all(value is None or 0 <= value <= 1 for value in (estimate.value, estimate.low, estimate.high))


def section(left_out: Sequence[LeftOut]) -> str:
    """The part of a card; empty where nothing was measured."""
    if not left_out:
        return ""
    rows = [_row(one) for one in left_out]
    head = [
        "left out",
        "tumours, others",
        "right label",
        "called a tumour",
        "tumours left as standard",
        "others called free",
    ]
    return f"""## With a source left out

Reports of other models, each on the source, or the part of one, that it is said to be trained without. What scans from
a place that nobody trained on may get, they say better than the figures above.

{table(head, rows)}"""


def _row(one: LeftOut) -> list[str]:
    tumor, kinds = one.evaluation.tumor, one.evaluation.mode == "labels"
    assert tumor is not None  # _impossible refuses others
    return [
        one.name.replace("|", "/"),
        f"{tumor.tumors}, {tumor.others}",
        percent(one.evaluation.accuracy) if kinds else "-",
        percent(tumor.sensitivity),
        percent(tumor.standard),
        percent(tumor.specificity) if tumor.others else "-",
    ]
