"""``edgebrain train`` and ``edgebrain audit``: signatures only, so that starting the program stays cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def mount(app: typer.Typer) -> None:
    """Add this half's commands to the program."""
    app.command()(train)
    app.command()(audit)


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
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="imagenet|none|FILE", help="Where a published architecture starts from."),
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

      edgebrain train resnet18-nadam --data scans/ --weights none

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
            weights=weights,
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
