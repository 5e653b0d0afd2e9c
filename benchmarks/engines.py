"""Every engine and precision on the same files, in one run, as a table: python benchmarks/engines.py [--data DIR].

Engines run in turn, in the same minutes, each round forwards and the next one backwards; a figure is the median of the
rounds. OpenVINO's own format in fp16 is made from the fp32 graph for the run. `--data` adds the accuracy, as
`edgebrain evaluate` measures it.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import busy, library_versions, machine_facts
from msgspec.structs import replace

from edgebrain.bundle import Artifact, Bundle, describe_file, open_bundle, write_manifest
from edgebrain.classifier import Classifier
from edgebrain.device import Choice
from edgebrain.engines import ENGINES, Engine, EngineOptions, open_engine, unavailable_because
from edgebrain.evaluation.run import evaluate_samples
from edgebrain.labelled import read_labelled
from edgebrain.types import Image8, Precision

BATCHES = (1, 32)
THREADS = (1, 2)
WARM = 3
SLICE = 0.25
"""Seconds that one engine runs in a round; long enough for several batches, short enough to take turns."""
RULE = "|---" * 8 + "|"


@dataclass(frozen=True)
class Way:
    """One row: an engine and a file."""

    engine: str
    artifact: Artifact
    size: int

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.engine} {self.artifact.precision.value}"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="edge", help="built-in model or bundle")
    parser.add_argument("--rounds", type=int, default=15, help="rounds; 3 show that it works, and no more")
    parser.add_argument("--data", help="labelled folder or CSV, for the accuracy")
    parser.add_argument("--split", help="split of it")
    return parser.parse_args()


def with_ir(bundle: Bundle, folder: Path) -> Bundle:
    """A copy of the bundle with OpenVINO's format in fp16, if OpenVINO is there."""
    shutil.copytree(bundle.folder, folder)
    if unavailable_because(ENGINES["openvino"]) is not None:
        return open_bundle(folder)
    from edgebrain.engines.ov import load_openvino, openvino_core

    openvino: Any = load_openvino()
    full = next(a for a in bundle.artifacts("onnxruntime") if a.precision is Precision.FP32)
    openvino.save_model(openvino_core().read_model(folder / full.file), folder / "model.fp16.xml")
    made = []
    for name in ("model.fp16.xml", "model.fp16.bin"):
        facts = describe_file(folder / name)
        made.append(Artifact(facts.file, "openvino", Precision.FP16, facts.sha256, facts.bytes))
    write_manifest(folder, replace(bundle.manifest, artifacts=(*bundle.manifest.artifacts, *made)))
    return open_bundle(folder)


def ways_of(bundle: Bundle) -> list[Way]:
    """Every CPU engine that is installed, with each file that it can run."""
    found = []
    for name in ("onnxruntime", "openvino"):
        if unavailable_because(ENGINES[name]) is not None:
            print(f"{name} is left out: {unavailable_because(ENGINES[name])}.")
            continue
        for artifact in bundle.manifest.artifacts:
            weights = sum(a.bytes for a in bundle.manifest.artifacts if a.file == f"{Path(artifact.file).stem}.bin")
            if not artifact.file.endswith(".bin") and artifact.engine in ("onnxruntime", name):
                found.append(Way(name, artifact, artifact.bytes + weights))
    return found


def milliseconds(engine: Engine, images: Image8) -> float:
    """Wall time of a batch: the median of as many as fit into a slice of time, at least one."""
    samples: list[float] = []
    end = time.perf_counter() + SLICE
    while not samples or time.perf_counter() < end:
        began = time.perf_counter()
        engine.run(images)
        samples.append((time.perf_counter() - began) * 1e3)
    return statistics.median(samples)


def measure(bundle: Bundle, ways: list[Way], rounds: int, threads: int) -> dict[tuple[str, int], float]:
    """Median wall time in milliseconds of a batch, by way and size of the batch."""
    spec = bundle.manifest.input
    images = np.random.default_rng(1).integers(0, 256, (max(BATCHES), 1, spec.height, spec.width), dtype=np.uint8)
    samples: dict[tuple[str, int], list[float]] = {(way.name, batch): [] for way in ways for batch in BATCHES}
    with ExitStack() as stack:
        engines = {}
        for way in ways:
            options = EngineOptions(threads=threads)
            engine = stack.enter_context(closing(open_engine(bundle.first_alone(), way.artifact, options, way.engine)))
            engines[way.name] = engine
            for _ in range(WARM):
                engine.run(images)
        for turn in range(rounds):
            for name, batch in list(samples)[:: -1 if turn % 2 else 1]:
                samples[name, batch].append(milliseconds(engines[name], images[:batch]))
    return {key: statistics.median(values) for key, values in samples.items()}


def accuracy(bundle: Bundle, way: Way, data: str, split: str | None) -> str:
    """Share of right answers in per cent, with its interval."""
    samples = [s for s in read_labelled(data, split=split, labels=bundle.manifest.labels) if not s.copy_of]
    engine = open_engine(bundle, way.artifact, EngineOptions(threads=max(THREADS)), way.engine)
    choice = Choice(way.artifact, max(THREADS), "cpu", ("a benchmark",), (), way.engine)
    with closing(Classifier(bundle, engine, choice)) as classifier:
        figure = evaluate_samples(classifier, samples).accuracy
    if figure.value is None or figure.low is None or figure.high is None:
        return "undefined"
    return f"{figure.value:.2%} ({figure.low:.2%} to {figure.high:.2%})"


def main() -> int:
    """Measure and print."""
    asked = arguments()
    with tempfile.TemporaryDirectory() as folder:
        bundle = with_ir(open_bundle(asked.model), Path(folder) / "bundle")
        ways = ways_of(bundle)
        facts, libraries = machine_facts(), library_versions()
        print(
            f"Model {bundle.manifest.id} {bundle.manifest.version}; {facts['processor']}, {facts['int8_instructions']};"
        )
        print(f"{', '.join(f'{name} {version}' for name, version in libraries.items())}; {asked.rounds} rounds.")
        if busy():
            print("\n**Other programs were busy on this machine: the figures say little.**")
        head = "| engine and precision | file, MB | threads | batch 1, ms | ratio | batch 32, ms | scans/s | ratio |"
        print(f"\n{head}\n{RULE}")
        for threads in THREADS:
            found = measure(bundle, ways, asked.rounds, threads)
            for way in ways:
                one, many = (found[way.name, batch] for batch in BATCHES)
                base = [found["onnxruntime fp32", batch] for batch in BATCHES]
                print(
                    f"| {way.name} | {way.size / 1e6:.2f} | {threads} | {one:.2f} | {base[0] / one:.2f} | {many:.1f} "
                    f"| {max(BATCHES) / many * 1e3:.0f} | {base[1] / many:.2f} |"
                )
        print("\nRatios are speed against ONNX Runtime in fp32 with as many threads; above 1 is faster.")
        if asked.data is not None:
            print("\n| engine and precision | accuracy (95 % interval) |\n|---|---|")
            for way in ways:
                print(f"| {way.name} | {accuracy(bundle, way, asked.data, asked.split)} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
