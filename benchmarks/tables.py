"""Findings as tables, for a terminal and for the documentation."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from outcome import Findings, Outcome

HEAD = ("what", "ours", "against", "value", "95 % interval", "target", "met")
FEW_DIGITS = 100
INTRODUCTION = (
    "Written by `benchmarks/run.py --write-docs`; do not edit. Both sides of every comparison run in turn, in the same "
    "minutes on the same machine. A value is the median of the rounds' ratios, with a 95 % bootstrap interval. "
    "A target that is missed stays in the table."
)


@dataclass(frozen=True)
class Report:
    """A whole run.

    Attributes:
        created: When it ended, ISO 8601 in UTC.
        command: How to repeat it.
        quick: Whether so little was measured that the figures say nothing.
        busy: Whether other programs shared the machine.
        scans: What was measured on.
        machine: Facts of the machine.
        libraries: Versions.
        model: Which model.
        findings: By measure.
    """

    created: str
    command: str
    quick: bool
    busy: bool
    scans: str
    machine: Mapping[str, str | int | float]
    libraries: Mapping[str, str]
    model: Mapping[str, str]
    findings: Mapping[str, Findings]

    def to_dict(self) -> dict[str, Any]:
        """Everything, raw samples included; ``schema`` is raised when a field changes its meaning."""
        tree = {"schema": 1, **asdict(self)}
        for name, found in self.findings.items():
            for outcome, plain in zip(found.outcomes, tree["findings"][name]["outcomes"], strict=True):
                low, high = outcome.interval
                plain |= {"value": outcome.value, "interval": [low, high], "met": outcome.met}
        return tree


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= FEW_DIGITS else f"{value:.3g}"


def value_of(outcome: Outcome) -> str:
    """The value of an outcome with its unit."""
    return f"{outcome.value:.2f}{_sign(outcome)}"


def _sign(outcome: Outcome) -> str:
    return "x" if outcome.kind == "ratio" else f" {outcome.unit}"


def _row(outcome: Outcome) -> tuple[str, ...]:
    low, high = outcome.interval
    sign = _sign(outcome)
    target = "-"
    if outcome.target is not None:
        target = f"{'<=' if outcome.at_most else '>='} {outcome.target:g}{sign}"
    sides = (
        f"{name}: {_number(statistics.median(samples))} {outcome.unit}"
        for name, samples in ((outcome.ours, outcome.ours_samples), (outcome.against, outcome.against_samples))
    )
    single = len(outcome.values) == 1
    return (
        outcome.name,
        *sides,
        value_of(outcome),
        "one run" if single else f"{low:.2f} to {high:.2f}",
        target,
        {None: "-", True: "yes", False: "NO"}[outcome.met],
    )


def _warnings(report: Report) -> list[str]:
    notes = []
    if report.quick:
        notes.append("A quick run: far too little was measured for these figures to mean anything.")
    if report.busy:
        notes.append(
            "Other programs shared the machine: times are longer, and ratios less certain, than they should be."
        )
    return notes


def _about(report: Report) -> list[str]:
    facts = report.machine
    libraries = ", ".join(f"{name} {version}" for name, version in report.libraries.items())
    load = f"load average {facts['load_average']:.2f} at the start"
    return [
        f"{facts['processor']}, {facts['cpus']} CPUs used, {facts['memory_gib']} GiB, {facts['system']}, {load}",
        f"Python {facts['python']}, {libraries}",
        f"model {report.model['id']} {report.model['version']}, {report.model['precision']}",
        report.scans,
    ]


def as_text(report: Report) -> str:
    """For a terminal."""
    lines = [*_about(report), *(f"WARNING: {note}" for note in _warnings(report))]
    for found in report.findings.values():
        lines += ["", found.title, "=" * len(found.title)]
        if found.skipped:
            lines.append(f"not measured: {found.skipped}")
            continue
        lines += _columns([HEAD, *(_row(outcome) for outcome in found.outcomes)])
        for series in found.series:
            lines += ["", *_columns([series.columns, *series.rows])]
    return "\n".join(lines) + "\n"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def as_markdown(report: Report, plots: Mapping[str, str]) -> str:
    """A page for docs/.

    Args:
        report: What it tells.
        plots: What each plot shows, and its path relative to the page.
    """
    lines = [
        "# Benchmarks",
        "",
        INTRODUCTION,
        "",
        "```sh",
        report.command,
        "```",
        "",
        f"Measured on {report.created[:10]}:",
        "",
        *(f"- {line}" for line in _about(report)),
        *(f"\n**{note}**" for note in _warnings(report)),
        *(f"\n![{shown}]({path})" for shown, path in plots.items()),
    ]
    for found in report.findings.values():
        lines += ["", f"## {found.title}", ""]
        if found.skipped:
            lines.append(f"Not measured: {found.skipped}.")
            continue
        lines += [found.how, "", *_grid([HEAD, *(_row(outcome) for outcome in found.outcomes)])]
        for series in found.series:
            lines += ["", f"{series.title}:", "", *_grid([series.columns, *series.rows])]
    return "\n".join(lines) + "\n"


def _grid(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return [head, "|" + " --- |" * len(rows[0]), *body]
