"""``edgebrain train`` and ``edgebrain audit``: signatures only, so that starting the program stays cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def mount(app: typer.Typer) -> None:
    """Add this half's commands to the program."""
    app.command()(train)
    app.command()(audit)
    app.command()(fewshot)


def train(
    *,
    recipe: Annotated[str, typer.Argument(metavar="RECIPE|list", help="A recipe's name, a .toml file, or 'list'.")],
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", metavar="DIR|CSV", help="Labelled scans; repeat for more. They are audited and split."),
    ] = None,
    splits: Annotated[
        list[Path] | None,
        typer.Option("--splits", metavar="CSV", help="Use these splits as they are, not --data; repeat for more."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Run folder; runs/RECIPE if not given.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the data.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of everything random.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe; repeat.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads; all that this process may use if not given.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --output.")] = False,
) -> int:
    """Train a recipe, or show the recipes there are with 'list'.

    With --data, near-duplicates are kept in one split and the splits are written into the run folder. --resume takes
    the run folder's splits, and ends with the same weights as a run that was never stopped.

    Some calls:

      edgebrain train list

      edgebrain train edge --data scans/ --output runs/mine

      edgebrain train edge --splits splits.csv --epochs 20 --set optimizer.lr=1e-3

      edgebrain train edge --splits splits.csv --splits pictures.csv --set data.outliers=0.15

      edgebrain train edge --output runs/mine --resume
    """
    from .commands import TrainRequest, list_recipes, run_train

    if recipe == "list":
        return list_recipes()
    overrides = list(settings or ())
    if epochs is not None:
        overrides.append(f"trainer.epochs={epochs}")
    if seed is not None:
        overrides.append(f"seed={seed}")
    return run_train(
        TrainRequest(
            recipe=recipe,
            overrides=tuple(overrides),
            data=tuple(data or ()),
            splits=tuple(splits or ()),
            output=output,
            threads=threads,
            resume=resume,
        )
    )


def audit(
    *,
    data: Annotated[list[Path], typer.Argument(metavar="DIR|CSV...", help="Labelled folders or CSV manifests.")],
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all findings there, as JSON.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if anything is wrong with the data.")] = False,
    copy_threshold: Annotated[
        float | None, typer.Option("--copy-threshold", help="Likeness over which two images are copies.")
    ] = None,
    group_threshold: Annotated[
        float | None, typer.Option("--group-threshold", help="Likeness over which two images stay in one split.")
    ] = None,
    splits: Annotated[
        Path | None, typer.Option("--splits", metavar="CSV", help="Split the data by group and write it there.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed gives another split.")] = 0,
    fractions: Annotated[
        str, typer.Option("--fractions", metavar="T,V,T", help="Shares of train, val and test.")
    ] = "0.7,0.15,0.15",
    held_out: Annotated[
        str | None,
        typer.Option("--hold-out", metavar="SOURCE", help="Make this source, and what repeats it, the test split."),
    ] = None,
) -> int:
    """Look for copies, leakage between splits, contradictory labels and shortcuts in labelled data.

    Some calls:

      edgebrain audit scans/ --strict

      edgebrain audit set-a/ set-b/ --splits splits.csv --json audit.json

      edgebrain audit set-a/ set-b/ --splits without-b.csv --hold-out set-b
    """
    from .commands import AuditRequest, run_audit

    return run_audit(
        AuditRequest(
            paths=tuple(data),
            json_path=json_path,
            strict=strict,
            copy_threshold=copy_threshold,
            group_threshold=group_threshold,
            splits=splits,
            seed=seed,
            fractions=fractions,
            held_out=held_out,
        )
    )


def fewshot(
    *,
    splits: Annotated[
        list[Path], typer.Option("--splits", metavar="CSV", help="Splits made by 'edgebrain audit --splits'; repeat.")
    ],
    report: Annotated[Path, typer.Option("--report", metavar="DIR", help="Write fewshot.json, .md and .png there.")],
    model: Annotated[
        list[Path] | None,
        typer.Option("--model", metavar="RUN", help="A run whose embedding is judged too, or a MAML run; repeat."),
    ] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="What is meta-trained here.")] = "maml-glioma-meningioma",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe; repeat.")
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option("--protocol", help="Only this protocol, 'unseen-groups' for one; repeat.")
    ] = None,
    shots: Annotated[str, typer.Option("--shots", help="Support scans a class.")] = "1,5,10",
    queries: Annotated[int, typer.Option("--queries", min=1, help="Query scans a class.")] = 15,
    episodes: Annotated[int, typer.Option("--episodes", min=2, help="Episodes of each figure.")] = 600,
    scratch: Annotated[
        bool, typer.Option("--scratch/--no-scratch", help="Meta-train the recipe's network for each protocol.")
    ] = True,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.")] = None,
) -> int:
    """Test learning from a few scans honestly: what was seen before, and what was not.

    MAML, prototypical networks and plain fine-tuning on the same episodes: system A's own protocol, groups that were
    never seen, each class held out of meta-training in turn, and tumours of another source.

    Some calls:

      edgebrain fewshot --splits splits.csv --report few/ --model runs/edge

      edgebrain fewshot --splits splits.csv --report few/ --model runs/edge --no-scratch
    """
    from .few_shot_command import FewShotRequest, run_fewshot

    return run_fewshot(
        FewShotRequest(
            splits=tuple(splits),
            report=report,
            models=tuple(model or ()),
            recipe=recipe,
            overrides=tuple(settings or ()),
            protocols=tuple(protocol or ()),
            shots=shots,
            queries=queries,
            episodes=episodes,
            scratch=scratch,
            threads=threads,
        )
    )
