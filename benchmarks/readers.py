"""What the second reader costs: the model with it against its first network alone, file to record."""

from __future__ import annotations

import tempfile
from pathlib import Path

from floors import seconds
from outcome import Findings, Outcome
from plan import Plan
from steady import classify_all

from edgebrain.classifier import READ_TWICE, Classifier

TITLE = "Cost of the second reader"
TARGET = 1.3
"""Of the cost of the first model, which was the first network alone."""


def measure(plan: Plan) -> Findings:
    """Run both over the same files, in turn."""
    both = Classifier.load(plan.model, threads=plan.threads, throughput=True)
    if both.bundle.manifest.second_reader is None:
        return Findings(TITLE, "", skipped="the model has one reader")
    alone = Classifier.load(plan.model, threads=plan.threads, throughput=True, second_reader=False)
    twice = sum(READ_TWICE in prediction.reasons for prediction in both.classify_many(plan.files))
    samples: dict[Classifier, list[float]] = {both: [], alone: []}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "records.jsonl"
        for turn in range(plan.rounds + 1):
            for classifier in list(samples)[:: -1 if turn % 2 else 1]:
                took = seconds(lambda used=classifier: classify_all(used, plan.files, output))  # type: ignore[misc]
                samples[classifier].append(took / len(plan.files) * 1e3)
    ours, against = (times[1:] for times in samples.values())  # the first round warms up
    return Findings(
        title=TITLE,
        how=f"{plan.threads} threads. {twice} of {len(plan.files)} files are read twice. Both write records; what the "
        "first network alone says is not what the model is calibrated for.",
        outcomes=[Outcome("file to record", "both readers", "first network alone", "ms", ours, against, target=TARGET)],
    )
