"""What a user would pick instead: a torchvision ResNet-50 in eager mode, as its documentation shows it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from bare import LABELS
from outcome import Findings, Outcome, Series
from plan import Plan
from torchvision_way import Run, classify

from edgebrain.classifier import Classifier
from edgebrain.errors import EdgebrainError
from edgebrain.folders import real
from edgebrain.intervals import bootstrap, group_index, proportion
from edgebrain.labelled import read_labelled

TITLE = "Against a torchvision ResNet-50"
TARGET = 50.0
BATCHES = (1, 32)


def measure(plan: Plan) -> Findings:
    """Run edgebrain and the rival over files, in turn; edgebrain gets all files, the slow rival some."""
    missing = [module for module in ("torch", "torchvision", "PIL") if find_spec(module) is None]
    if missing:
        return Findings(TITLE, "", skipped=f"{missing[0]} is not installed; the extra 'train' brings it")
    from floors import seconds
    from steady import classify_all

    classifier = Classifier.load(plan.model, threads=plan.threads, throughput=True)
    few, rival = plan.few, _rival(plan)
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
    speeds = [
        Outcome(
            f"scans per second, rival in batches of {batch}",
            "edgebrain, file to record",
            f"ResNet-50 in batches of {batch}, file to label",
            "scans/s",
            ours,
            theirs[batch],
            target=TARGET,
            at_most=False,
            rival=f"ResNet-50 in batches of {batch}",
        )
        for batch in BATCHES
    ]
    return Findings(
        title=TITLE,
        how=f"{plan.threads} threads on each side. The rival decodes with Pillow, applies the transforms of the "
        f"model's documentation (resize to 256, crop to 224, normalise) and runs in inference mode. {_weights(plan)}",
        outcomes=speeds,
        series=_accuracies(plan, classifier, rival) if plan.rival else [],
    )


def _weights(plan: Plan) -> str:
    if not plan.rival:
        return "Its weights are random, which changes nothing about its time."
    return (
        "To the run that trained it, all of these scans were test scans; that they were to edgebrain's model, too, is "
        "what the splits are trusted for."
    )


def _rival(plan: Plan) -> Run:
    """The rival, with the weights of a run where one is named."""
    import torch
    import torchvision

    torch.set_num_threads(plan.threads)
    net = torchvision.models.resnet50(weights=None, num_classes=len(LABELS)).eval()
    if plan.rival:
        check_unseen(Path(plan.rival), plan.files)
        net.load_state_dict(trained_weights(Path(plan.rival)))
    return classify(net)


def check_unseen(run: Path, files: Sequence[str]) -> None:
    """Make sure that a run had these scans in its test split.

    Raises:
        SystemExit: It had one elsewhere, does not know one, or is no run.
    """
    from edgebrain.train.config import SPLITS_FILE

    try:
        splits = {real(sample.path): sample.split for sample in read_labelled(run / SPLITS_FILE)}
    except EdgebrainError as error:
        raise SystemExit(f"--rival {run}: {error}") from error
    for file in files:
        if splits.get(real(file)) != "test":
            raise SystemExit(f"--rival {run}: {file} was no test scan of that run, so that it cannot be judged by it.")


def trained_weights(run: Path) -> dict[str, Any]:
    """The weights of a run of a ResNet-50 recipe, under the names that torchvision gives them.

    Raises:
        SystemExit: The run trained something else.
    """
    from edgebrain.train.models import load_model

    try:
        net, recipe, _ = load_model(run / "model.safetensors")
    except EdgebrainError as error:
        raise SystemExit(f"--rival {run}: {error}") from error
    if recipe.architecture != "resnet50" or tuple(recipe.data.labels) != LABELS:
        raise SystemExit(f"--rival {run}: this run trained no ResNet-50 of {', '.join(LABELS)}.")
    weights = net.state_dict()
    body = {name.removeprefix("body."): value for name, value in weights.items() if name.startswith("body.")}
    return body | {"fc.weight": weights["head.weight"].flatten(1), "fc.bias": weights["head.bias"]}


def _accuracies(plan: Plan, classifier: Classifier, rival: Run) -> list[Series]:
    """How many of the labelled scans each side is right about."""
    truth = np.array(plan.labels)
    answers = {
        "edgebrain": np.array([prediction.label for prediction in classifier.classify_many(plan.files)]),
        "ResNet-50": np.array(LABELS)[rival(plan.files, max(BATCHES))],
    }
    rows = [[name, *_accuracy(found == truth, group_index(plan.groups))] for name, found in answers.items()]
    return [Series("Right on the same scans", ["what", "scans", "accuracy", "95 % interval"], rows)]


def _accuracy(right: npt.NDArray[np.bool_], groups: npt.NDArray[np.intp]) -> tuple[str, str, str]:
    every = np.ones(len(right), bool)
    found = proportion(right, every, groups, bootstrap(lambda w: w @ right / w.sum(1), len(right), groups))
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    return f"{right.sum()} of {len(right)}", f"{found.value:.1%}", f"{found.low:.1%} to {found.high:.1%}"
