"""Models that were trained without one of the sources, as the model card shows them: what another hospital may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgebrain.errors import UsageError
from edgebrain.evaluation.measure import Evaluation

from .markup import percent, table

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
        UsageError: One is not of that form, cannot be read, or is no such report.
    """
    return tuple(_read(one) for one in given)


def _read(given: str) -> LeftOut:
    name, equals, file = given.rpartition("=")
    if not (name.strip() and equals and file):
        raise UsageError(f"{given!r} is not NAME=REPORT.json.", remedy=f"The report comes from: {_HOW}")
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"Cannot read {file!r}: {error.strerror or error}.") from error
    try:
        found = msgspec.json.decode(data, type=Evaluation)
    except msgspec.DecodeError as error:
        raise UsageError(f"{file!r} is no report of an evaluation: {error}.", remedy=f"Make it with: {_HOW}") from error
    if found.tumor is None:
        raise UsageError(f"{file!r} is of a model that does not say whether there is a tumour.")
    return LeftOut(" ".join(name.split()), found)


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

Other models, trained as described without the source and all that nearly repeats it, on that source. They say what
scans from a place that nobody trained on may get, better than the figures above.

{table(head, rows)}"""


def _row(one: LeftOut) -> list[str]:
    tumor, kinds = one.evaluation.tumor, one.evaluation.mode == "labels"
    assert tumor is not None  # read_left_out refuses others
    return [
        one.name.replace("|", "/"),
        f"{tumor.tumors}, {tumor.others}",
        percent(one.evaluation.accuracy) if kinds else "-",
        percent(tumor.sensitivity),
        percent(tumor.standard),
        percent(tumor.specificity) if tumor.others else "-",
    ]
