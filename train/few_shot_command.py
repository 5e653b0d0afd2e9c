"""What ``edgebrain fewshot`` does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from edgebrain.errors import EXIT_OK, UsageError
from edgebrain.outputs import write_whole

from .commands import require_training
from .config import load_recipe
from .given_splits import read_splits
from .splits import one_vocabulary


@dataclass(frozen=True)
class FewShotRequest:
    """The options of ``fewshot``; see its help."""

    splits: tuple[Path, ...]
    report: Path
    models: tuple[Path, ...] = ()
    recipe: str = "maml-glioma-meningioma"
    overrides: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    shots: str = "1,5,10"
    queries: int = 15
    episodes: int = 600
    scratch: bool = True
    threads: int | None = None
    resume: bool = False


def run_fewshot(request: FewShotRequest) -> int:
    """Run the honest test, print its table, and write table, plot and figures.

    Returns:
        The exit code.

    Raises:
        EdgebrainError: The request, the data or a model cannot be used, or training is not installed.
    """
    recipe = load_recipe(request.recipe, list(request.overrides))
    if recipe.meta.order == "none":
        raise UsageError(f"The recipe {recipe.name} is none for meta-learning.", remedy="Set meta.order.")
    if not request.scratch and not request.models:
        raise UsageError("Nothing to judge.", remedy="Give --model RUN, or leave out --no-scratch.")
    shots = _shots(request.shots)
    require_training()
    from .few_shot_run import rows_tree, run_few_shot
    from .few_shot_tables import markdown, plot, print_rows
    from .few_shot_work import Plan, check_work, remove_work

    check_work(request.report, resume=request.resume)
    samples = one_vocabulary(read_splits(request.splits))
    plan = Plan(
        recipe=recipe,
        shots=shots,
        queries=request.queries,
        episodes=request.episodes,
        models=tuple(m / "model.safetensors" if m.is_dir() else m for m in request.models),
        only=request.protocols,
        scratch=request.scratch,
        threads=request.threads,
    )
    found = run_few_shot(plan, samples, request.report, resume=request.resume)
    picture = plot(found.rows)  # before anything is written: what cannot be drawn leaves no half of a report
    print_rows(found.rows)
    write_whole(request.report / "fewshot.json", (json.dumps(rows_tree(plan, found), indent=2) + "\n").encode())
    write_whole(request.report / "fewshot.md", markdown(found.rows).encode())
    write_whole(request.report / "fewshot.png", picture)
    remove_work(request.report)
    return EXIT_OK


def _shots(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise UsageError(f"--shots {text}: expected whole numbers with commas between them, such as 1,5,10.")
    return numbers
