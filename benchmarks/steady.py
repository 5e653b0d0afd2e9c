"""What a scan costs in a long run: from file to record, against the work there is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bare import Bare
from floors import BareGraph, Bytes8, decode_all, seconds
from outcome import Findings, Outcome
from plan import Plan

from edgebrain.classifier import Classifier
from edgebrain.results.writers import open_writer

TARGET = 1.18
REPEATS = 4
"""Times that each file comes in a round: the start and the end of a run are no part of its steady state."""

Work = dict[str, Callable[[], None]]


def measure(plan: Plan) -> Findings:
    """Run edgebrain, decoding alone and the graph alone over the same files, in turn."""
    classifier = Classifier.load(plan.model, threads=plan.threads, throughput=True)
    files = plan.files * REPEATS
    encoded = [np.fromfile(file, np.uint8) for file in files]
    ready = [next(classifier.read(file)).prepared for file in files]
    images = np.stack([prepared.image for prepared in ready if prepared is not None])
    twice = [bool(classifier.engine.run(image[np.newaxis]).get("readers", [1])[0] > 1) for image in images]
    graphs, parts = bare_graphs(classifier, images, twice, plan.threads)
    script = bare_sessions(classifier, plan.threads)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "records.jsonl"
        work: Work = {
            "ours": lambda: classify_all(classifier, files, output),
            "decode": lambda: decode_all(encoded, plan.threads),
            "graph": lambda: run_all(graphs),
            "bare": lambda: label_all(script, files, twice, output),
        }
        samples = in_turn(work, plan.rounds, len(files))
    return Findings(
        title="Steady throughput",
        how=f"{len(files)} scans a round, {plan.threads} threads on each side. Ours reads, checks, hashes, decodes, "
        "crops, infers, calibrates, decides and writes JSONL to a file; decoding alone has the bytes in memory, and "
        "the graph alone has its tensors ready. The warm bare script decodes, resizes, infers and writes the label of "
        "one file after the other. A second reader's graph runs on the scans that it is asked about.",
        outcomes=outcomes(samples, parts),
    )


def in_turn(work: Work, rounds: int, scans: int) -> dict[str, list[float]]:
    """Milliseconds a scan of every task: once to get warm, then all in every round, every other one backwards."""
    samples: dict[str, list[float]] = {name: [] for name in work}
    for task in work.values():
        task()
    for turn in range(rounds):
        for name in list(work)[:: -1 if turn % 2 else 1]:
            samples[name].append(seconds(work[name]) / scans * 1e3)
    return samples


def outcomes(samples: dict[str, list[float]], parts: str) -> list[Outcome]:
    """What the samples say, side by side.

    Args:
        samples: Milliseconds a scan by task: ``ours``, ``decode``, ``graph`` and ``bare``.
        parts: What the graph alone runs, for people.
    """
    floor = [sum(pair) for pair in zip(samples["decode"], samples["graph"], strict=True)]
    ours = "edgebrain, per scan"
    return [
        Outcome("file to record", ours, f"decoding alone + {parts}", "ms", samples["ours"], floor, target=TARGET),
        Outcome("the same", ours, "bare script, warm", "ms", samples["ours"], samples["bare"]),
        Outcome("share of decoding", "decoding alone", "edgebrain", "ms", samples["decode"], samples["ours"]),
        Outcome("share of the graph", parts, "edgebrain", "ms", samples["graph"], samples["ours"]),
    ]


def bare_graphs(classifier: Classifier, images: Bytes8, twice: list[bool], threads: int) -> tuple[list[BareGraph], str]:
    """The graphs of a model alone, each on the images that it reads, and what that is in words."""
    artifact, bundle = classifier.choice.artifact, classifier.bundle
    first = BareGraph(bundle.read(artifact), images, threads)
    said = f"{artifact.file}, batch {first.batch}"
    second = bundle.manifest.second_reader
    if second is None or not any(twice):
        return [first], f"graph alone ({said})"
    other = BareGraph(bundle.read(second.artifact), images[twice], threads)
    share = sum(twice) / len(twice)
    return [first, other], f"graph alone ({said}; {second.artifact.file} on {share:.0%}, batch {other.batch})"


def bare_sessions(classifier: Classifier, threads: int) -> Bare:
    """The bare script, warm, with the graphs that a classifier chose."""
    bundle, second = classifier.bundle, classifier.bundle.manifest.second_reader
    graph = str(bundle.folder / classifier.choice.artifact.file)
    return Bare(threads, graph, *((str(bundle.folder / second.artifact.file), second.weight) if second else ()))


def run_all(graphs: list[BareGraph]) -> None:
    """Run graphs one after the other."""
    for graph in graphs:
        graph.run()


def label_all(script: Bare, files: tuple[str, ...], twice: list[bool], output: Path) -> None:
    """Label files with the bare script, into a text file."""
    with output.open("w", encoding="utf-8") as stream:
        for file, both in zip(files, twice, strict=True):
            stream.write(f"{file} {script.label(file, twice=both)}\n")


def classify_all(classifier: Classifier, files: tuple[str, ...], output: Path) -> None:
    """Classify files into a JSONL file.

    Raises:
        SystemExit: A scan failed; its time would mean nothing.
    """
    with open_writer("jsonl", output, overwrite=True) as writer:
        for prediction in classifier.classify_many(files):
            if prediction.error is not None:
                raise SystemExit(prediction.error.message)
            writer.write(prediction)
