"""A benchmark as tables of plain text, beside the neuroradiologist's line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgebrain.benchmark.comparing import Comparison
from edgebrain.benchmark.figures import PERCENTILES, middle
from edgebrain.benchmark.human import MEANING, SCANS_PER_HOUR, SOURCE, exams_per_hour
from edgebrain.errors import printable
from edgebrain.report.tables import UNDEFINED, Cell, Grid, percent, percent_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgebrain.benchmark.record import Accuracy, Benchmark, Case
    from edgebrain.intervals import Estimate

_MANY = 100.0


def number(value: float | None) -> str:
    """Three digits, more only before the point."""
    if value is None:
        return UNDEFINED
    return f"{value:,.0f}" if abs(value) >= _MANY else f"{value:.3g}"


def interval(figure: Estimate) -> str:
    """The interval of a figure; empty where there is none."""
    return "" if figure.low is None or figure.high is None else f"{number(figure.low)} to {number(figure.high)}"


def with_interval(figure: Estimate) -> str:
    """A figure, and its interval in brackets."""
    ends = interval(figure)
    return f"{number(figure.value)} ({ends})" if ends else number(figure.value)


def benchmark_grids(record: Benchmark) -> list[Grid]:
    """The tables of a record, in reading order."""
    grids = [_human(record)]
    grids += [_stages(case) for case in record.cases if case.latency_ms]
    grids += [_starts(record)] if any(case.cold is not None for case in record.cases) else []
    grids.append(_runs(record))
    grids += [_accuracy(record)] if any(case.accuracy is not None for case in record.cases) else []
    return grids


def notes(record: Benchmark) -> list[str]:
    """What a reader must know, each sentence once."""
    found = [MEANING, f"Source of the neuroradiologist's rate: {SOURCE}."]
    found += [f"not measured: {one.what}: {one.reason}" for one in record.skipped]
    found += [f"left out: {message}" for message in record.failed]
    said = [note for case in record.cases for note in case.notes]
    return [printable(note) for note in dict.fromkeys([*found, *said])]


def _row(*cells: str) -> tuple[Cell, ...]:
    return tuple(Cell(printable(cell)) for cell in cells)


def _human(record: Benchmark) -> Grid:
    slow, fast = SCANS_PER_HOUR
    exams = record.slices_per_exam
    rows = [_row("a neuroradiologist", "", f"{slow:g} to {fast:g}")]
    for case in record.cases:
        rate = case.summary.scans_per_hour
        whole = None if rate.value is None else exams_per_hour(rate.value, exams)
        rows.append(_row(case.setup.key, with_interval(rate), number(whole)))
    return Grid(
        "In an hour",
        ("who", "slices", f"examinations of {exams} slices"),
        tuple(rows),
    )


def _stages(case: Case) -> Grid:
    rows = [
        _row(stage, *(with_interval(figures[name]) for name in PERCENTILES))
        for stage, figures in case.summary.latency_ms.items()
    ]
    return Grid(
        f"One scan at a time, ms: {printable(case.setup.key)}",
        ("stage", *PERCENTILES),
        tuple(rows),
        caption=f"{len(case.latency_ms['total']):,} scans; decide: calibration, decision and record",
    )


def _starts(record: Benchmark) -> Grid:
    rows = []
    for case in record.cases:
        cold = case.cold
        if cold is not None:
            parts = (cold.command_ms, cold.import_ms, cold.load_ms, cold.first_ms, cold.peak_mb)
            rows.append(_row(case.setup.key, *(with_interval(middle(samples)) for samples in parts)))
    return Grid(
        "New processes, median",
        ("case", "classify, ms", "import, ms", "load model, ms", "first scan, ms", "peak memory, MB"),
        tuple(rows),
    )


def _runs(record: Benchmark) -> Grid:
    rows = []
    for case in record.cases:
        memory, joules = case.memory, case.summary.joules_per_scan
        rows.append(
            _row(
                case.setup.key,
                with_interval(case.summary.scans_per_second),
                UNDEFINED if memory is None else number(memory.peak),
                UNDEFINED if memory is None else f"{memory.growth:+.2f}",
                UNDEFINED if joules is None else number(1e3 * joules),
            )
        )
    return Grid(
        "Steady run, file to record",
        ("case", "scans per second", "peak memory, MB", "growth, MB", "energy per scan, mJ"),
        tuple(rows),
    )


def _accuracy(record: Benchmark) -> Grid:
    rows = [_accuracy_row(case, case.accuracy) for case in record.cases if case.accuracy is not None]
    return Grid(
        "The same files on labelled scans",
        ("case", "scans", "accuracy", "95 % interval", "tumours found", "judged"),
        tuple(rows),
        caption="'edgebrain evaluate' gives all figures",
    )


def _accuracy_row(case: Case, figures: Accuracy) -> tuple[Cell, ...]:
    return _row(
        case.setup.key,
        f"{figures.n:,}",
        percent(figures.accuracy.value),
        percent_interval(figures.accuracy),
        UNDEFINED if figures.sensitivity is None else percent(figures.sensitivity.value),
        percent(figures.coverage.value),
    )


def comparison_grid(comparison: Comparison, names: Sequence[str]) -> Grid:
    """Two records as one table.

    Args:
        comparison: What was found.
        names: What the first and the second record are called.
    """
    rows = [
        _row(case.key, ratio.name, f"{number(ratio.ratio.value)}x", interval(ratio.ratio), ratio.verdict)
        for case in comparison.cases
        for ratio in case.ratios
    ]
    first, second = map(printable, names)
    return Grid(
        f"{second} over {first}", ("case", "figure", "ratio", "95 % interval", "verdict on the second"), tuple(rows)
    )
