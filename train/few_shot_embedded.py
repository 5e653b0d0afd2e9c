"""The embedding of a trained network, and the heads that are judged on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgebrain.errors import UsageError
from edgebrain.folders import absolute
from edgebrain.inner import Start
from edgebrain.labelled import ANY_TUMOR, NO_TUMOR, Sample
from edgebrain.types import Float32, InputSpec

from .accelerator import find_device
from .data import prepare_samples
from .episodes import Indices
from .few_shot import Protocol
from .few_shot_work import Plan
from .fit import MODEL
from .heads import HeadConfig, meta_learn, standardise
from .judging import Solver, head_solver
from .meta_progress import Watch
from .models import TrainedModel

LABELS = ("glioma", "meningioma", NO_TUMOR, "pituitary", ANY_TUMOR)
"""Labels that a protocol may ask for."""
LEARNED, PROTOTYPES, FINE_TUNED = "meta-learned head", "prototypes", "fine-tuned head"
HEADS = (LEARNED, PROTOTYPES, FINE_TUNED)
"""What ``edgebrain adapt`` does from a meta-learned head, from prototypes and from nothing."""


def names_of(paths: Sequence[Path], recipes: Sequence[str]) -> list[str]:
    """How a table calls models: a recipe, and of a path as much as tells it from the others.

    Args:
        paths: Files of models.
        recipes: The name of each one's recipe.

    Raises:
        UsageError: A file is given twice.
    """
    full = [absolute(path) for path in paths]
    for place, path in enumerate(full):
        if path in full[:place]:
            raise UsageError(f"{paths[place]} is given twice.", remedy="Give each --model once.")
    parts = [(path.parent if path.name == MODEL else path).parts for path in full]
    depths = [1] * len(parts)
    while True:
        names = [
            f"{recipe} ({Path(*one[-depth:]).as_posix()})"
            for recipe, one, depth in zip(recipes, parts, depths, strict=True)
        ]
        longer = [
            depth + (names.count(name) > 1 and depth < len(one))
            for name, one, depth in zip(names, parts, depths, strict=True)
        ]
        if longer == depths:
            return names
        depths = longer


class Embedded:
    """Scans as a trained network sees them.

    Args:
        trained: The network.
        samples: Scans that can be read.
        groups: int [N], their groups.
        plan: What is run.
    """

    def __init__(self, trained: TrainedModel, samples: Sequence[Sample], groups: Indices, plan: Plan) -> None:
        self.embedding = embeddings(trained, samples)
        self.groups = groups
        self.plan = plan

    def solver(self, protocol: Protocol, method: str, shots: int) -> Solver:
        """A head as something that solves episodes."""
        ways, config, plan = len(protocol.train_tasks[0]), HeadConfig(), self.plan
        rows = np.unique(np.concatenate(list(protocol.train.support.values())))
        base = standardise(self.embedding[rows], ways)
        features = base.features(self.embedding)
        if method == PROTOTYPES:
            return head_solver(features, Start(ways, config.lr, 0))
        if method == FINE_TUNED:
            return head_solver(features, Start(ways, config.lr, 5 * config.steps, base.weight, base.bias))
        train, val = (
            protocol.sampler(part, self.groups, shots=shots, queries=plan.queries, seed=plan.recipe.seed)
            for part in ("train", "val")
        )
        return head_solver(features, meta_learn(features, train, val, config, seed=plan.recipe.seed))


def embeddings(trained: TrainedModel, samples: Sequence[Sample], batch: int = 64) -> Float32:
    """Embeddings [N, D] of scans by a trained network, each scan read and run once; on a GPU if there is one.

    Raises:
        TrainingError: The network has no embedding.
    """
    spec: InputSpec = trained.recipe.input
    images = prepare_samples(samples, LABELS, spec, None).images
    device, parts = find_device(), []
    net = trained.net.to(device)
    with torch.inference_mode(), Watch(len(images), "embedding", lines=False) as watch:
        for i in range(0, len(images), batch):
            output: Any = net(torch.from_numpy(images[i : i + batch, np.newaxis]).to(device))
            parts.append(output.embedding.float().cpu().numpy())
            for _ in range(len(parts[-1])):
                watch.step()
    return np.concatenate(parts)
