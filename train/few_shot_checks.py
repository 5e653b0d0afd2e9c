"""What ``edgebrain fewshot`` refuses before any work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgebrain.errors import UsageError

from .config import suggest
from .dispatch import is_meta
from .few_shot import PAIR, Protocol

if TYPE_CHECKING:
    from .few_shot_work import Plan
    from .models import TrainedModel


def chosen_protocols(known: Sequence[Protocol], only: Sequence[str]) -> list[Protocol]:
    """The protocols that are asked for; all if none is named.

    Raises:
        UsageError: There is none of a name in this data.
    """
    names = [p.name for p in known]
    for name in only:
        if name not in names:
            raise UsageError(f"There is no protocol {name!r} in this data.", remedy=suggest(name, names))
    return [p for p in known if not only or p.name in only]


def given_run(plan: Plan, models: Sequence[TrainedModel]) -> TrainedModel | None:
    """The meta-trained model that stands in for a training here; None where none is given.

    Raises:
        UsageError: There are two, it is not what would be trained, or nothing would be judged.
    """
    found = [(path, m) for path, m in zip(plan.models, models, strict=True) if is_meta(m.recipe)]
    if not plan.scratch and len(found) == len(models):
        raise UsageError(
            "Without --scratch only embeddings are judged, and MAML runs have none.",
            remedy="Leave out --no-scratch, or give --model with a run that was trained as usual.",
        )
    if len(found) > 1:
        raise UsageError(f"{found[1][0]} is a second MAML run.", remedy="Give one of them with --model.")
    for path, one in found:
        if one.recipe.data.labels != PAIR or one.recipe.input != plan.recipe.input:
            raise UsageError(
                f"{path} was meta-trained for other labels or another input than the recipe {plan.recipe.name}.",
                remedy="Name its own recipe with --recipe and --set; its labels must be "
                f"{' and '.join(PAIR)}, in this order.",
            )
    return found[0][1] if found else None
