"""What a user would pick instead: a torchvision ResNet-50 in eager mode, as its documentation shows it."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

from outcome import Findings, Outcome
from plan import Plan
from torchvision_way import Run, classify

TITLE = "Against a torchvision ResNet-50"
TARGET = 50.0
BATCHES = (1, 32)
LABELS = 4


def measure(plan: Plan) -> Findings:
    """Run edgebrain and the rival over files, in turn; edgebrain gets all files, the slow rival some."""
    missing = [module for module in ("torch", "torchvision", "PIL") if find_spec(module) is None]
    if missing:
        return Findings(TITLE, "", skipped=f"{missing[0]} is not installed; the extra 'train' brings it")
    from floors import seconds
    from steady import classify_all

    from edgebrain.classifier import Classifier

    classifier = Classifier.load(plan.model, threads=plan.threads, throughput=True)
    few = plan.files[: plan.rival_scans]
    rival = _rival(plan.threads)
    ours: list[float] = []
    theirs: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "records.jsonl"
        classify_all(classifier, plan.files, output)
        rival(few[: BATCHES[0]], BATCHES[0])
        for _ in range(plan.rival_rounds):
            ours.append(len(plan.files) / seconds(lambda: classify_all(classifier, plan.files, output)))
            for batch in BATCHES:
                theirs[batch].append(len(few) / seconds(lambda size=batch: rival(few, size)))  # type: ignore[misc]
    return Findings(
        title=TITLE,
        how=f"{plan.threads} threads on each side. The rival decodes with Pillow, applies the transforms of the "
        "model's documentation (resize to 256, crop to 224, normalise) and runs in inference mode. Its weights are "
        "random, which changes nothing about its time.",
        outcomes=[
            Outcome(
                f"scans per second, rival in batches of {batch}",
                "edgebrain, file to record",
                "ResNet-50, file to label",
                "scans/s",
                ours,
                theirs[batch],
                target=TARGET,
                at_most=False,
            )
            for batch in BATCHES
        ],
    )


def _rival(threads: int) -> Run:
    import torch
    import torchvision

    torch.set_num_threads(threads)
    return classify(torchvision.models.resnet50(weights=None, num_classes=LABELS).eval())
