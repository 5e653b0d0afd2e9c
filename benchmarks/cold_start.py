"""What a start costs: time and peak memory of a new process that classifies one file."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from outcome import Findings, Outcome
from plan import Plan

from edgebrain.classifier import READ_TWICE, Classifier

HERE = Path(__file__).parent
TARGET_TIME = 1.25
TARGET_MEMORY = 1.3

Samples = dict[str, list[dict[str, float]]]


def one_file_commands(plan: Plan) -> dict[str, list[str]]:
    """The command, and the bare script with the graphs that the command would run on the same file."""
    file = one_file(plan)
    with closing(Classifier.load(plan.model, threads=plan.threads)) as classifier:
        twice = READ_TWICE in classifier.classify(file).reasons
        bare = bare_script(plan, classifier, second_reader=twice)
    return {
        "classify": [
            *(sys.executable, "-m", "edgebrain", "classify", file, "--format", "jsonl"),
            *("--model", plan.model, "--threads", str(plan.threads)),
        ],
        "bare": bare,
    }


def one_file(plan: Plan) -> str:
    """The file that a start is measured with: a PNG where there is one."""
    return next((f for f in plan.files if f.endswith(".png")), plan.files[0])


def bare_script(plan: Plan, classifier: Classifier, *, second_reader: bool) -> list[str]:
    """The bare script on one file: the graph that the classifier chose and, if asked for, its second reader's."""
    bundle, second = classifier.bundle, classifier.bundle.manifest.second_reader
    graph = bundle.folder / classifier.choice.artifact.file
    more = [bundle.folder / second.artifact.file, second.weight] if second is not None and second_reader else []
    return [sys.executable, str(HERE / "bare.py"), str(graph), one_file(plan), str(plan.threads), *map(str, more)]


def measure(plan: Plan) -> Findings:
    """Start the command and the bare script in turn."""
    commands = {
        **one_file_commands(plan),
        "help": [sys.executable, "-m", "edgebrain", "--help"],
        "typer": [sys.executable, "-c", "import typer"],
    }
    samples = launch(commands, plan.starts)
    classify, bare = "edgebrain classify one.png", "bare script, same graphs"
    pair = (samples, "classify", "bare")
    return Findings(
        title="Cold start",
        how="New processes, in turn; a start before the first round fills the caches. The bare script imports numpy, "
        "cv2 and onnxruntime, decodes, resizes, runs the same graphs (that of a second reader if edgebrain asks it "
        "about the file) and prints the label.",
        outcomes=[
            Outcome("time", classify, bare, "ms", *_two(*pair, "wall"), target=TARGET_TIME),
            Outcome("CPU time", classify, bare, "ms", *_two(*pair, "cpu")),
            Outcome("peak memory", classify, bare, "MB", *_two(*pair, "memory"), target=TARGET_MEMORY),
            Outcome("help", "edgebrain --help", "import typer", "ms", *_two(samples, "help", "typer", "wall")),
        ],
    )


def launch(commands: dict[str, list[str]], rounds: int) -> Samples:
    """Start commands in turn from a small process; see launch.py."""
    done = subprocess.run(
        [sys.executable, str(HERE / "launch.py")],
        input=json.dumps({"commands": commands, "rounds": rounds}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    samples: Samples = json.loads(done.stdout)
    return samples


def _two(samples: Samples, ours: str, against: str, what: str) -> tuple[list[float], list[float]]:
    return [sample[what] for sample in samples[ours]], [sample[what] for sample in samples[against]]
