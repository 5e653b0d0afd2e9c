"""OpenVINO's own benchmark of our graph: the graph alone, with its throughput hint."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec

from plan import Plan

from edgebrain.bundle import open_bundle
from edgebrain.classifier import Classifier

SECONDS = 5
# It would report its own import.
_CODE = "import sys; sys.modules['openvino_telemetry'] = None; from openvino.tools.benchmark.main import main; main()"


def served_rate(plan: Plan) -> str:
    """Scans per second in words, or why there is no such figure."""
    if find_spec("openvino") is None:
        return "not measured: openvino is not installed; the extra 'openvino' brings it"
    classifier = Classifier.load(plan.model)
    spec = classifier.bundle.manifest.input
    graph = open_bundle(plan.model).folder / classifier.choice.artifact.file
    command = [sys.executable, "-c", _CODE, "-m", str(graph), "-d", "CPU", "-t", str(SECONDS), "-hint", "throughput"]
    # It uses the CPUs that this process may use; its own option for threads excludes the hint.
    command += ["-shape", f"[8,1,{spec.height},{spec.width}]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Throughput:\s+([\d.]+) FPS", done.stdout)
    if found is None:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        return f"not measured: {lines[-1] if lines else f'exit code {done.returncode}'}"
    return f"{float(found[1]):.0f} scans/s in batches of 8, decoding not included"
