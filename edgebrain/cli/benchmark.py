"""``edgebrain benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgebrain.cli import shared


def benchmark(
    *,
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH]...", help="Scans to time; drawn ones if not given.")
    ] = None,
    model: shared.Model = "edge",
    engine: Annotated[
        str | None, typer.Option("--engine", help="Engine, or 'all' for every engine and precision that is here.")
    ] = None,
    precision: shared.PrecisionName = None,
    device: shared.Device = None,
    threads: shared.Threads = None,
    batch_size: shared.BatchSize = 8,
    sweep: Annotated[bool, typer.Option("--sweep", help="Also other numbers of threads and batch sizes.")] = False,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR|CSV", help="Labelled scans: measure accuracy on them, too.")
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="Only this split of --data.")] = None,
    slices_per_exam: Annotated[
        int, typer.Option("--slices-per-exam", min=1, max=100_000, help="Slices that an examination is taken to have.")
    ] = 150,
    iterations: Annotated[int, typer.Option("--min-iterations", min=1, help="Scans of a steady run at least.")] = 200,
    seconds: Annotated[float, typer.Option("--min-seconds", min=0, help="Its seconds at least.")] = 5.0,
    starts: Annotated[int, typer.Option("--starts", min=0, max=1000, help="New processes to start.")] = 5,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the record with all samples; replaces it.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="DIR", help="Write benchmark.json and plots as PNG and SVG.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--compare", metavar="A.json B.json", help="Measure nothing; compare two records."),
    ] = None,
    min_scans_per_hour: Annotated[
        float | None, typer.Option("--min-scans-per-hour", min=0, help="Exit 1 below it; of the first case.")
    ] = None,
    max_p95_ms: Annotated[
        float | None, typer.Option("--max-p95-ms", min=0, help="Exit 1 above it; one scan at a time, first case.")
    ] = None,
) -> int:
    """Measure how fast a model is here: starts, stages, steady run, memory, energy; beside the neuroradiologist's rate.

    Every case is measured in a process of its own. Figures have 95 % intervals.

    Some calls:

      edgebrain benchmark

      edgebrain benchmark scans/ --engine all --json after.json

      edgebrain benchmark --compare before.json after.json
    """
    from edgebrain.cli.run_benchmark import BenchmarkRequest, run_benchmark_command

    return run_benchmark_command(
        BenchmarkRequest(
            paths=tuple(paths or ()),
            model=shared.ModelRequest(model, engine, precision, device, threads),
            batch_size=batch_size,
            sweep=sweep,
            data=data,
            split=split,
            slices_per_exam=slices_per_exam,
            iterations=iterations,
            seconds=seconds,
            starts=starts,
            json_file=json_file,
            report=report,
            compare=compare,
            min_scans_per_hour=min_scans_per_hour,
            max_p95_ms=max_p95_ms,
        )
    )
