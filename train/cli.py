"""``edgebrain train``, ``tune`` and ``audit``: signatures only, so that starting the program stays cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

# Options that several commands take.
Data = Annotated[
    list[Path] | None,
    typer.Option("--data", metavar="DIR|CSV", help="Labelled scans; repeat for more. They are audited and split."),
]
Splits = Annotated[
    list[Path] | None,
    typer.Option("--splits", metavar="CSV", help="Use these splits as they are, not --data; repeat for more."),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe; repeat.")
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads; all that this process may use if not given.")
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of everything random.")]


def mount(app: typer.Typer) -> None:
    """Add this half's commands to the program."""
    app.command()(train)
    app.command()(tune)
    app.command()(audit)
    app.command()(fewshot)


def train(
    *,
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE|list|all", help="A recipe's name, a .toml file, 'list' or 'all'.")
    ],
    data: Data = None,
    splits: Splits = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Run folder; runs/RECIPE if not given.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the data.")] = None,
    seed: Seed = None,
    settings: Settings = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="imagenet|none|FILE", help="Where a published architecture starts from."),
    ] = None,
    threads: Threads = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --output.")] = False,
    only: Annotated[str | None, typer.Option("--only", metavar="A,B", help="With 'all': only these recipes.")] = None,
    devices: Annotated[
        int | None, typer.Option("--devices", min=1, help="Processes on each machine that share every batch.")
    ] = None,
    nodes: Annotated[int | None, typer.Option("--nodes", min=1, help="Machines that share every batch.")] = None,
) -> int:
    """Train a recipe; show the recipes there are with 'list'; train the whole set with 'all'.

    With --data, near-duplicates are kept in one split and the splits are written into the run folder. --resume takes
    the run folder's splits, and ends with the same weights as a run that was never stopped. 'all' writes one run folder
    a recipe into --output, leaves finished ones alone, goes on with half-finished ones, and after one that fails.

    Some calls:

      edgebrain train list

      edgebrain train all --data scans/ --output runs --only edge-base,teacher

      edgebrain train edge --data scans/ --output runs/mine

      edgebrain train edge --splits splits.csv --epochs 20 --set optimizer.lr=1e-3

      edgebrain train edge --splits splits.csv --splits pictures.csv --set data.outliers=0.15

      edgebrain train resnet18-nadam --data scans/ --weights none

      edgebrain train edge --output runs/mine --resume
    """
    from edgebrain.errors import UsageError

    from .commands import TrainRequest, list_recipes, run_train
    from .processes import Machines

    if recipe == "list":
        return list_recipes()
    request = TrainRequest(
        recipe=recipe,
        overrides=_overrides(settings, epochs, seed),
        data=tuple(data or ()),
        splits=tuple(splits or ()),
        output=output,
        threads=threads,
        resume=resume,
        weights=weights,
        machines=Machines(devices or 0, nodes or 0),
    )
    if recipe == "all":
        from .run_all import run_all

        return run_all(request, only or "")
    if only is not None:
        raise UsageError("--only belongs to 'train all'.")
    return run_train(request)


def tune(
    *,
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name, or a .toml file, with a [search].")],
    trials: Annotated[int, typer.Option("--trials", "-n", min=1, help="Trials that the study has in the end.")],
    data: Data = None,
    splits: Splits = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder; searches/NAME if not given.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage", metavar="URL", help="Where workers share the study; a file in the folder if not given."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the study; the recipe's if not given.")] = None,
    objective: Annotated[
        Literal["loss", "macro_f1"], typer.Option("--objective", help="Validation figure to judge by.")
    ] = "loss",
    pruner: Annotated[
        Literal["median", "hyperband", "none"], typer.Option("--pruner", help="What gives up trials that fall behind.")
    ] = "median",
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the data, in each trial.")] = None,
    seed: Seed = None,
    settings: Settings = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, help="Seconds after which no new trial starts.")
    ] = None,
    threads: Threads = None,
) -> int:
    """Search for better values of a recipe; the best one is written out, ready to train.

    The same call goes on with a study, until it has --trials trials. Several of them at a time share the work.

    Some calls:

      edgebrain tune cnn-tuned --trials 40 --splits splits.csv --output searches/cnn

      edgebrain tune edge --trials 20 --data scans/ --set 'search.optimizer.lr={low=1e-4, high=1e-2, log=true}'

      edgebrain train searches/cnn/best.toml --splits searches/cnn/splits.csv
    """
    from .tune import TuneRequest, run_tune

    return run_tune(
        TuneRequest(
            recipe=recipe,
            trials=trials,
            overrides=_overrides(settings, epochs, seed),
            data=tuple(data or ()),
            splits=tuple(splits or ()),
            output=output,
            storage=storage,
            name=name,
            objective=objective,
            pruner=pruner,
            timeout=timeout,
            threads=threads,
        )
    )


def _overrides(settings: list[str] | None, epochs: int | None, seed: int | None) -> tuple[str, ...]:
    given = (("trainer.epochs", epochs), ("seed", seed))
    return (*(settings or ()), *(f"{key}={value}" for key, value in given if value is not None))


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
    test_kept: Annotated[
        bool, typer.Option("--keep-test", help="Keep the data's own test split; do not train on what repeats it.")
    ] = False,
) -> int:
    """Look for copies, leakage between splits, contradictory labels and shortcuts in labelled data.

    --splits makes new splits, in which patients and near-duplicates stay together; splits that the data came with are
    only kept with --keep-test.

    Some calls:

      edgebrain audit scans/ --strict

      edgebrain audit set-a/ set-b/ --splits splits.csv --json audit.json

      edgebrain audit set-a/ set-b/ --splits without-b.csv --hold-out set-b

      edgebrain audit training-and-testing/ --splits published.csv --keep-test
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
            test_kept=test_kept,
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
    settings: Settings = None,
    protocol: Annotated[
        list[str] | None, typer.Option("--protocol", help="Only this protocol, 'unseen-groups' for one; repeat.")
    ] = None,
    shots: Annotated[str, typer.Option("--shots", help="Support scans a class.")] = "1,5,10",
    queries: Annotated[int, typer.Option("--queries", min=1, help="Query scans a class.")] = 15,
    episodes: Annotated[int, typer.Option("--episodes", min=2, help="Episodes of each figure.")] = 600,
    scratch: Annotated[
        bool, typer.Option("--scratch/--no-scratch", help="Meta-train the recipe's network for each protocol.")
    ] = True,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a test that was stopped; what it finished is kept.")
    ] = False,
    threads: Threads = None,
) -> int:
    """Test learning from a few scans honestly: what was seen before, and what was not.

    MAML, prototypical networks and plain fine-tuning on the same episodes: system A's own protocol, groups that were
    never seen, each class held out of meta-training in turn, and tumours of another source.

    Some calls:

      edgebrain fewshot --splits splits.csv --report few/ --model runs/edge

      edgebrain fewshot --splits splits.csv --report few/ --model runs/edge --resume

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
            resume=resume,
        )
    )
