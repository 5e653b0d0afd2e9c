"""Measure edgebrain against what it is held to, and print the tables. One command; see --help."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path

from machine import busy, library_versions, machine_facts, model_facts
from outcome import Findings, findings_from
from plan import Plan
from plots import SHOWN, draw_plots
from scans import draw_scans, find_scans, held_out_scans
from tables import Report, as_markdown, as_text

HERE = Path(__file__).parent
MEASURES = {
    "cold-start": "cold_start",
    "startup": "startup",
    "steady": "steady",
    "readers": "readers",
    "memory": "memory",
    "growth": "growth",
    "rival": "rival",
    "peers": "peers",
}
OF_SPLITS = {"steady", "readers", "rival"}
"""What real slices change, and what their page in docs/ has."""
CPUS = 2
"""The targets are for two cores; on a larger machine two of them are used."""
TUNING = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_LOG_LEVEL"),
    *("PYTHONDONTWRITEBYTECODE", "PYTHONPROFILEIMPORTTIME", "PYTHONDEVMODE", "PYTHONMALLOC"),
)
"""Settings of the shell that would favour one side, or make every start compile its modules anew."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="so little that it only shows that everything runs")
    parser.add_argument("--scans", type=int, metavar="N", help="number of different files (240; 16 with --quick)")
    parser.add_argument(
        "--data", type=Path, metavar="DIR|CSV", help="real scans: a folder's, or the test split of splits"
    )
    parser.add_argument("--only", action="append", choices=list(MEASURES), help="only this measure; may be repeated")
    parser.add_argument(
        "--rival",
        type=Path,
        metavar="RUN",
        help="a run that trained a ResNet-50, to measure how often it is right",
    )
    parser.add_argument("--model", default="edge", metavar="NAME|DIR", help="built-in model, or a bundle's folder")
    parser.add_argument("--output", type=Path, default=Path("bench-out"), metavar="DIR", help="for benchmarks.json")
    parser.add_argument("--install", action="store_true", help="make environments for peers that are missing, with pip")
    parser.add_argument("--write-docs", action="store_true", help="write the page in docs/, too")
    given = parser.parse_args()
    if wrong := contradiction(given):
        parser.error(wrong)
    return given


def contradiction(given: argparse.Namespace) -> str:
    """What does not fit together in a command line; empty where everything does."""
    measures, labelled = set(given.only or MEASURES), given.data is not None and given.data.is_file()
    if given.data is not None and not given.data.exists():
        return f"--data: there is no file or folder {given.data}."
    whole = measures == OF_SPLITS if labelled else given.data is None and measures == set(MEASURES)
    if given.write_docs and (given.quick or given.scans or not whole):
        asked = " ".join(f"--only {name}" for name in MEASURES if name in OF_SPLITS)
        return f"--write-docs publishes whole pages: without --quick, --scans and --only, or --data SPLITS.csv {asked}."
    if given.rival and not (labelled and "rival" in measures):
        return "--rival: accuracy needs labels, and the measure rival; give splits with --data."
    if given.scans is not None and (given.scans < 1 or labelled):
        return "--scans: at least 1 is needed; of splits, the whole test split is measured."
    return ""


def make_plan(files: Sequence[str], model: str, *, quick: bool) -> Plan:
    """How much is measured."""
    threads = len(os.sched_getaffinity(0))
    if quick:
        return Plan(tuple(files), threads, 3, 3, 2, 1, (20, 40, 80), model)
    return Plan(tuple(files), threads, 25, 15, 64, 3, (100, 1_000, 10_000), model)


def run_measure(name: str, plan: Plan, folder: Path) -> Findings:
    """Run one measure in a process of its own, so that none inherits the memory and threads of another."""
    request, answer = folder / "plan.json", folder / f"{name}.json"
    request.write_text(json.dumps(asdict(plan)), encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key not in TUNING}
    environment["ORT_DISABLE_TELEMETRY"] = "1"  # as edgebrain does; a start without it would cost the others time
    command = [sys.executable, str(HERE / "child.py"), MEASURES[name], str(request), str(answer)]
    if code := subprocess.run(command, env=environment, check=False).returncode:
        raise SystemExit(f"The measure {name} ended with {code}; what it said stands above.")
    return findings_from(json.loads(answer.read_text(encoding="utf-8")))


def main() -> int:
    """Measure, print, write.

    Returns:
        0, also when a target is missed: the table says so.
    """
    given = arguments()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CPUS])
    facts, was_busy = machine_facts(), busy()
    if was_busy:
        sys.stderr.write("warning: other programs share this machine; the figures will be less certain.\n")
    count = given.scans or (16 if given.quick else 240)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        plan, what = chosen_scans(given, folder, count)
        plan = replace(plan, environments=str(given.output.resolve() / "peers"), install=given.install)
        findings = {}
        for name in given.only or MEASURES:
            sys.stderr.write(f"measuring: {name} ...\n")
            findings[name] = run_measure(name, plan, folder)
    report = Report(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=shlex.join(["python", "benchmarks/run.py", *sys.argv[1:]]),
        quick=given.quick,
        busy=was_busy,
        scans=f"{len(plan.files)} files: {what}",
        machine=facts,
        libraries=library_versions(),
        model=model_facts(given.model),
        findings=findings,
    )
    sys.stdout.write(as_text(report))
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "benchmarks.json").write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
    plots = draw_plots(report)
    for name, content in plots.items():
        (given.output / f"{name}.png").write_bytes(content)
    if given.write_docs:
        write_page(report, plots, "benchmarks-real-slices" if given.data else "benchmarks")
    return 0


def chosen_scans(given: argparse.Namespace, folder: Path, count: int) -> tuple[Plan, str]:
    """The plan with the scans that the command line names, and what they are in words."""
    if given.data is None:
        plan = make_plan(draw_scans(folder, count), given.model, quick=given.quick)
        return plan, "drawn phantoms, 224 and 512 pixels a side, half PNG, half JPEG"
    if not given.data.is_file():
        return make_plan(find_scans(given.data, count), given.model, quick=given.quick), "scans of a folder"
    files, labels, groups = held_out_scans(given.data)
    plan = make_plan(files, given.model, quick=given.quick)
    rival = str(given.rival.resolve()) if given.rival else ""
    return replace(plan, labels=labels, groups=groups, rival=rival), "the test split, copies left out"


def write_page(report: Report, plots: Mapping[str, bytes], name: str) -> None:
    """Write a page of docs/ and its plots."""
    docs = HERE.parent / "docs"
    (docs / "plots").mkdir(exist_ok=True)
    for plot, content in plots.items():
        (docs / "plots" / f"{name}-{plot}.png").write_bytes(content)
    shown = {SHOWN[plot]: f"plots/{name}-{plot}.png" for plot in plots}
    (docs / f"{name}.md").write_text(as_markdown(report, shown), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
