"""What ``edgebrain adapt`` does."""

from __future__ import annotations

import math
import sys
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgebrain.adapt.run import Adapted, Options, check_bundle, learn
from edgebrain.adapt.support import find_samples, read_support
from edgebrain.adapt.write import write
from edgebrain.cli.progress import progress
from edgebrain.errors import EXIT_OK, UsageError, printable
from edgebrain.folders import real
from edgebrain.place import check_output

if TYPE_CHECKING:
    from pathlib import Path

    from edgebrain.cli.requests import ModelRequest


@dataclass(frozen=True)
class AdaptRequest:
    """What was asked for; the fields are the options of the command."""

    support: Path
    output: Path
    model: ModelRequest
    head: str | None = None
    steps: int | None = None
    lr: float | None = None
    name: str | None = None
    force: bool = False


def run_adapt(request: AdaptRequest) -> int:
    """Adapt a model, write the new bundle, and print how good it is.

    Raises:
        EdgebrainError: The scans, the model or the output cannot be used; nothing is written then.
    """
    _check(request)
    with closing(request.model.load(second_reader=False)) as classifier:
        bundle = classifier.bundle
        check_bundle(bundle)
        known = [label for head in bundle.manifest.heads for label in head.labels]
        samples = find_samples(request.support, known, _say)
        with progress(samples, "reading") as shown:
            counted = shown.count(iter(samples))
            support = read_support(classifier, samples, lambda: _advance(counted))
    adapted = learn(bundle, support, Options(request.head, request.steps, request.lr))
    for warning in adapted.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    write(bundle, adapted, support, request.output, request.name)
    _print(adapted, request.output)
    return EXIT_OK


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _advance(items: object) -> None:
    next(items, None)  # type: ignore[call-overload]


def _check(request: AdaptRequest) -> None:
    if request.lr is not None and not 0 < request.lr < math.inf:
        raise UsageError(f"--lr {request.lr}: a step has a size above 0.")
    if request.name is not None and (not request.name or not request.name.isprintable()):
        raise UsageError("--name must be text that can be printed.")
    if real(request.output).is_relative_to(real(request.support)):
        raise UsageError(
            f"{request.output} lies in {request.support}, which holds the scans.", remedy="Name another folder."
        )
    check_output(request.output)
    if not request.force and request.output.is_dir() and any(request.output.iterdir()):
        raise UsageError(
            f"{request.output} exists.", remedy="--force replaces it; or name another folder with --output."
        )


def _print(adapted: Adapted, output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    labels = [printable(label) for label in adapted.spec.labels]
    table = Table("true \\ left out", *labels, box=None, pad_edge=False)
    for label, row in zip(labels, adapted.confusion, strict=True):
        table.add_row(label, *map(str, row))
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(table)
    figure = adapted.accuracy
    interval = (
        "" if figure.low is None or figure.high is None else f", 95 % interval {figure.low:.3f} to {figure.high:.3f}"
    )
    console.print(f"leave-one-out accuracy {figure.value:.3f}{interval}")
    console.print(f"started from {adapted.start}: {adapted.spec.steps} steps of {adapted.spec.lr:g}")
    console.print(f"bundle: {output}")
