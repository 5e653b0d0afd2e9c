"""What ``edgebrain benchmark`` does."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgebrain.benchmark.cases import Wanted
from edgebrain.benchmark.limits import Limits, missed
from edgebrain.benchmark.record import read_record, to_json
from edgebrain.benchmark.requests import Effort
from edgebrain.benchmark.run import Task, run_benchmark
from edgebrain.cli.progress import progress
from edgebrain.errors import EXIT_OK, EXIT_SOME_FAILED, UsageError
from edgebrain.outputs import write_whole

if TYPE_CHECKING:
    from edgebrain.benchmark.record import Benchmark
    from edgebrain.benchmark.requests import Config
    from edgebrain.cli.requests import ModelRequest
    from edgebrain.report.tables import Grid

RECORD = "benchmark.json"
_PIPE = 160
"""Columns where nobody looks at a terminal: programs that read a table want whole lines."""


@dataclass(frozen=True)
class BenchmarkRequest:
    """What was asked for; the fields are the options of the command."""

    paths: tuple[str, ...]
    model: ModelRequest
    batch_size: int
    sweep: bool
    data: Path | None
    split: str | None
    slices_per_exam: int
    iterations: int
    seconds: float
    starts: int
    json_file: Path | None
    report: Path | None
    compare: tuple[Path, Path] | None
    min_scans_per_hour: float | None
    max_p95_ms: float | None


def run_benchmark_command(request: BenchmarkRequest) -> int:
    """Measure, print and write; or compare two records.

    Returns:
        EXIT_OK, or EXIT_SOME_FAILED when a limit is not kept or a file could not be used.

    Raises:
        EdgebrainError: The request, the model, the scans or an output cannot be used, or matplotlib is missing for a
            report; outputs are tried before the first measurement.
    """
    if request.compare is not None:
        return _compare(request, *request.compare)
    _check(request)
    record = run_benchmark(_task(request), follow=_shown)
    for target in _json_files(request):
        write_whole(target, to_json(record))
    if request.report is not None:
        from edgebrain.report.benchmark import benchmark_files
        from edgebrain.report.write import write_files

        write_files(request.report, benchmark_files(record).items())
    _print(record)
    problems = missed(record, Limits(request.min_scans_per_hour, request.max_p95_ms))
    for problem in problems:
        sys.stderr.write(f"edgebrain: too slow: {problem}\n")
    return EXIT_SOME_FAILED if problems or record.failed else EXIT_OK


def _check(request: BenchmarkRequest) -> None:
    if request.split is not None and request.data is None:
        raise UsageError("--split says which part of --data is meant.", remedy="Give --data, or leave --split out.")
    if request.report is not None:
        from edgebrain.report.write import check_report

        check_report(request.report)
    if request.json_file is not None:
        from edgebrain.files import check_folder, kind_of

        if kind_of(request.json_file) != "stream":
            check_folder(request.json_file)


def _json_files(request: BenchmarkRequest) -> Iterator[Path]:
    if request.json_file is not None:
        yield request.json_file
    if request.report is not None:
        yield request.report / RECORD


def _task(request: BenchmarkRequest) -> Task:
    return Task(
        wanted=Wanted(
            model=request.model.model,
            engine=request.model.engine,
            precision=request.model.precision,
            device=request.model.device,
            threads=request.model.threads,
            batch_size=request.batch_size,
            sweep=request.sweep,
        ),
        effort=Effort(request.iterations, request.seconds, request.starts),
        paths=request.paths,
        data=request.data,
        split=request.split,
        slices_per_exam=request.slices_per_exam,
    )


def _shown(configs: Sequence[Config]) -> Iterable[Config]:
    with progress(configs, "measuring") as shown:
        yield from shown.count(shown.items)


def _print(record: Benchmark) -> None:
    from edgebrain.report.benchmark_tables import benchmark_grids, notes

    machine = record.machine
    libraries = ", ".join(f"{name} {version}" for name, version in record.libraries.items())
    about = [
        f"{machine['processor']}, {machine['cpus']} CPUs, load average {machine['load_average']} at the end",
        f"edgebrain {record.edgebrain}, Python {machine['python']}, {libraries}",
        f"{record.n_files} files: {record.scans}",
    ]
    _write(about, benchmark_grids(record), notes(record))


def _compare(request: BenchmarkRequest, first: Path, second: Path) -> int:
    from edgebrain.benchmark.comparing import compare
    from edgebrain.report.benchmark_tables import comparison_grid

    if request.paths or request.data is not None:
        raise UsageError("--compare measures nothing.", remedy="Leave the scans out.")
    before, after = read_record(first), read_record(second)
    comparison = compare(before, after)
    grid = comparison_grid(comparison, (str(first), str(second)))
    _write([], [grid], [f"warning: {warning}" for warning in comparison.warnings])
    problems = missed(after, Limits(request.min_scans_per_hour, request.max_p95_ms))
    for problem in problems:
        sys.stderr.write(f"edgebrain: too slow: {problem}\n")
    return EXIT_SOME_FAILED if problems else EXIT_OK


def _write(about: Sequence[str], grids: Sequence[Grid], after: Sequence[str]) -> None:
    from rich.console import Console
    from rich.text import Text

    from edgebrain.errors import printable
    from edgebrain.report.write import print_grids

    console = Console(highlight=False)
    console.width = max(console.width, 60 if console.is_terminal else _PIPE)
    for line in about:
        console.print(Text(printable(line)))
    print_grids(grids, console)
    for line in after:
        console.print(Text(printable(line), style="dim"))
