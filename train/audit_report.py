"""What an audit found, as records, JSON and tables."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from edgebrain.errors import printable
from edgebrain.labelled import Sample
from edgebrain.outputs import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

REPORT_SCHEMA = 1
"""Version of the JSON report; raised when a field changes its meaning or goes away."""

_SHOWN = 10  # findings of a kind on the screen; the JSON has all


@dataclass(frozen=True)
class Unreadable:
    """A file that cannot be used, and why."""

    path: str
    code: str
    message: str


@dataclass(frozen=True)
class Finding:
    """Images that belong together and should not differ in something.

    Attributes:
        labels: Their labels, sorted.
        splits: Their splits, sorted, without the undecided.
        members: Their paths, sorted.
    """

    labels: tuple[str, ...]
    splits: tuple[str, ...]
    members: tuple[str, ...]


@dataclass(frozen=True)
class ClassRow:
    """One class of one source.

    Attributes:
        source: The data set.
        label: The class.
        images: Readable files.
        unique: Those that are no copy of another one.
        groups: Groups of near-duplicates that they are in.
        formats: Files a container format.
        sizes: Different sizes in pixels.
        common_size: The most common one.
        brightness: Median over the images of the mean grey level, 0 to 255.
    """

    source: str
    label: str
    images: int
    unique: int
    groups: int
    formats: dict[str, int]
    sizes: int
    common_size: str
    brightness: float


@dataclass(frozen=True)
class Overlap:
    """How many images of one source have a copy in another one."""

    source: str
    other: str
    images: int
    copied: int


@dataclass(frozen=True)
class Shortcut:
    """How well one property that shows no tumour predicts the class.

    Attributes:
        name: The property.
        accuracy: Share of unique images whose class is the most common one among the others with the same value.
        baseline: The same without knowing the property.
    """

    name: str
    accuracy: float
    baseline: float


@dataclass(frozen=True)
class SplitRow:
    """Images of one class and source in one split; ``unique`` counts those that are no copy and in no conflict."""

    split: str
    label: str
    source: str
    images: int
    unique: int


@dataclass(frozen=True)
class AuditReport:
    """All that an audit found.

    Attributes:
        images: Readable files.
        unique: Those that are no copy of another one.
        copy_threshold: Cosine over which two images are copies.
        group_threshold: Cosine over which two images belong to one group.
        copy_sets: Sets of images joined by copies; a set of one is counted too.
        largest_copy_sets: Sizes of the largest.
        groups: Near-duplicate groups; a group of one is counted too.
        largest_groups: Sizes of the largest.
        turned: Copies by how they are turned against the image they repeat.
        unreadable: Files that cannot be used.
        identical: Files with the same bytes.
        leakage: Copies in more than one split.
        group_leakage: Groups in more than one split, those with copies in more than one not repeated.
        conflicts: Copies with more than one label.
        group_conflicts: Groups with more than one label, those of ``conflicts`` not repeated; often honest, since
            slices of two patients can be alike.
        classes: The table of classes and sources.
        overlaps: Copies between sources.
        shortcuts: Properties that predict the class without showing a tumour.
        splits: The table of splits, where splits were made.
        samples: Readable samples in order with group, copy_of and conflict; not part of the JSON.
        schema: Version of this report.
    """

    images: int
    unique: int
    copy_threshold: float
    group_threshold: float
    copy_sets: int
    largest_copy_sets: tuple[int, ...]
    groups: int
    largest_groups: tuple[int, ...]
    turned: dict[str, int]
    unreadable: tuple[Unreadable, ...]
    identical: tuple[Finding, ...]
    leakage: tuple[Finding, ...]
    group_leakage: tuple[Finding, ...]
    conflicts: tuple[Finding, ...]
    group_conflicts: tuple[Finding, ...]
    classes: tuple[ClassRow, ...]
    overlaps: tuple[Overlap, ...]
    shortcuts: tuple[Shortcut, ...]
    samples: tuple[Sample, ...]
    splits: tuple[SplitRow, ...] = ()
    schema: int = REPORT_SCHEMA

    @property
    def clean(self) -> bool:
        """Whether there is no unreadable file, no copy in two splits and no copy with two labels."""
        return not (self.unreadable or self.leakage or self.conflicts)


def to_json(report: AuditReport) -> str:
    """Write the report as JSON: the same data gives the same bytes."""
    content: dict[str, Any] = {f.name: getattr(report, f.name) for f in fields(report) if f.name != "samples"}
    plain = {name: _plain(value) for name, value in content.items()}
    return json.dumps(plain, indent=2, sort_keys=True) + "\n"


def write_json(path: Path, report: AuditReport) -> None:
    """Write the report as a JSON file, all of it or nothing.

    Raises:
        EdgebrainError: The disk is full or fails.
        UsageError: The file cannot be written.
    """
    write_whole(path, to_json(report).encode())


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def print_report(report: AuditReport) -> None:
    """Print the report to stdout."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(_summary(report))
    console.print(_class_table(report.classes))
    if report.overlaps:
        console.print(_overlap_table(report.overlaps))
    console.print(_shortcut_table(report.shortcuts))
    if report.splits:
        console.print(_split_table(report.splits))
    for file in report.unreadable[:_SHOWN]:
        console.print(f"unreadable: {printable(file.message)}", markup=False)
    _print_more(console.print, len(report.unreadable))
    for title, findings in (
        ("copies in more than one split", report.leakage),
        ("copies with more than one label", report.conflicts),
    ):
        for finding in findings[:_SHOWN]:
            what = " / ".join(finding.splits if findings is report.leakage else finding.labels)
            shown = ", ".join(printable(path) for path in finding.members[:4])
            console.print(f"{title} ({what}): {shown}", markup=False)
        _print_more(console.print, len(findings))


def _print_more(show: Any, count: int) -> None:
    if count > _SHOWN:
        show(f"... and {count - _SHOWN} more; --json lists them all")


def _summary(report: AuditReport) -> Table:
    table = _table("Audit", ("", ""))
    table.show_header = False
    turned = ", ".join(f"{count} {how}" for how, count in report.turned.items() if count)
    rows = (
        ("images", f"{report.images}"),
        ("unreadable files", f"{len(report.unreadable)}"),
        ("unique images", f"{report.unique}"),
        ("copies", f"{report.images - report.unique}" + (f" ({turned})" if turned else "")),
        ("sets of identical files", f"{len(report.identical)}"),
        (
            f"sets of copies (cosine > {report.copy_threshold:g})",
            _count_and_sizes(report.copy_sets, report.largest_copy_sets),
        ),
        (f"groups (cosine > {report.group_threshold:g})", _count_and_sizes(report.groups, report.largest_groups)),
        ("copies in more than one split", f"{len(report.leakage)} sets"),
        ("neighbours in more than one split", f"{len(report.group_leakage)} groups"),
        ("copies with more than one label", f"{len(report.conflicts)} sets"),
        ("neighbours with more than one label", f"{len(report.group_conflicts)} groups"),
    )
    for row in rows:
        table.add_row(*row)
    return table


def _count_and_sizes(count: int, sizes: tuple[int, ...]) -> str:
    return f"{count}, largest {', '.join(map(str, sizes))}" if sizes else f"{count}"


def _class_table(rows: tuple[ClassRow, ...]) -> Table:
    table = _table(
        "Classes", ("source", "label", "images", "unique", "groups", "formats", "sizes", "most common", "grey")
    )
    for row in rows:
        formats = ", ".join(f"{name} {count}" for name, count in row.formats.items())
        counts = (f"{row.images}", f"{row.unique}", f"{row.groups}")
        table.add_row(
            printable(row.source), row.label, *counts, formats, f"{row.sizes}", row.common_size, f"{row.brightness:.0f}"
        )
    return table


def _overlap_table(rows: tuple[Overlap, ...]) -> Table:
    table = _table("Copies between sources", ("images of", "number", "with a copy in", "copies"))
    for row in rows:
        table.add_row(printable(row.source), f"{row.images}", printable(row.other), f"{row.copied}")
    return table


def _shortcut_table(rows: tuple[Shortcut, ...]) -> Table:
    table = _table("Guessing the class of a unique image without looking for a tumour", ("from", "right", "without it"))
    for row in rows:
        table.add_row(row.name, f"{row.accuracy:.1%}", f"{row.baseline:.1%}")
    return table


def _split_table(rows: tuple[SplitRow, ...]) -> Table:
    table = _table("Splits", ("split", "label", "source", "images", "unique"))
    for row in rows:
        table.add_row(row.split or "(none)", row.label, printable(row.source), f"{row.images}", f"{row.unique}")
    return table


def _table(title: str, columns: tuple[str, ...]) -> Table:
    from rich.table import Table as RichTable

    table = RichTable(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    return table
