"""What a start costs before any work: imports, help, one scan; time and memory of new processes."""

from __future__ import annotations

import statistics
import sys

from cold_start import Samples, launch, one_file_commands
from outcome import Findings, Outcome, Series
from plan import Plan

HELP_TARGET = 2.0
"""CPU time of ``--help``, over that of ``import typer``."""


def measure(plan: Plan) -> Findings:
    """Start Python alone, imports, helps and one classification in turn."""
    python = [sys.executable, "-c"]
    edgebrain = [sys.executable, "-m", "edgebrain"]
    commands = {
        "python -c pass": [*python, "pass"],
        'python -c "import typer"': [*python, "import typer"],
        'python -c "import edgebrain"': [*python, "import edgebrain"],
        'python -c "from edgebrain import Classifier"': [*python, "from edgebrain import Classifier"],
        "edgebrain --version": [*edgebrain, "--version"],
        "edgebrain --help": [*edgebrain, "--help"],
        "edgebrain classify --help": [*edgebrain, "classify", "--help"],
        "edgebrain classify one.png": one_file_commands(plan)["classify"],
    }
    samples = launch(commands, plan.starts)
    nothing, typer, ours, shown = *list(commands)[:3], "edgebrain --help"
    return Findings(
        title="Start-up",
        how="New processes, in turn; a start before the first round fills the caches.",
        outcomes=[
            Outcome("importing edgebrain", ours, nothing, "ms", *_pair(samples, ours, nothing), kind="difference"),
            Outcome("CPU time of help", shown, typer, "ms", *_pair(samples, shown, typer), target=HELP_TARGET),
        ],
        series=[Series("Medians", ["command", "time", "CPU time", "peak memory"], [_row(s, samples) for s in samples])],
    )


def _pair(samples: Samples, first: str, second: str) -> tuple[list[float], list[float]]:
    return [one["cpu"] for one in samples[first]], [one["cpu"] for one in samples[second]]


def _row(name: str, samples: Samples) -> list[str]:
    wall, cpu, memory = (statistics.median(one[what] for one in samples[name]) for what in ("wall", "cpu", "memory"))
    return [name, f"{wall:.0f} ms", f"{cpu:.0f} ms", f"{memory:.1f} MB"]
