"""What a recipe says of meta-learning."""

from __future__ import annotations

from typing import Literal

from .shapes import Amount, Count, Natural, Positive, Section, Share


class MetaConfig(Section, frozen=True, forbid_unknown_fields=True):
    """Meta-learning: training for tasks of a few scans; see maml.py.

    Attributes:
        order: ``none`` trains as usual; ``second`` and ``first`` are MAML with and without second derivatives;
            ``anil`` moves the head alone in the inner loop.
        inner_lr: Size of a gradient step on the support set.
        inner_steps: Steps on the support set, in meta-training.
        test_steps: Steps on the support set, when a task is solved for its own sake.
        lr: Learning rate of the outer loop, Adam.
        weight_decay: Added to the outer gradient.
        iterations: Steps of the outer loop, at most.
        tasks: Tasks a step.
        support: Scans of a class that a task learns from.
        query: Scans of a class that it is judged on.
        check_every: Iterations between two looks at the validation tasks.
        check_tasks: Number of validation tasks.
        factor: What the learning rate is multiplied with when the validation loss stays.
        patience: Checks without a lower validation loss that this takes.
        min_gain: Share by which the validation loss must get lower than the loss that last did, to count for the next.
        stop_after: Checks without that after which training stops; 0 never stops early. The best weights are kept.
    """

    order: Literal["none", "second", "first", "anil"] = "none"
    inner_lr: Positive = 0.01
    inner_steps: Natural = 5
    test_steps: Natural = 10
    lr: Positive = 0.002
    weight_decay: Amount = 1e-5
    iterations: Count = 1000
    tasks: Count = 2
    support: Count = 5
    query: Count = 5
    check_every: Count = 25
    check_tasks: Count = 20
    factor: Share = 0.5
    patience: Natural = 5
    min_gain: Share = 0.01
    stop_after: Natural = 10
