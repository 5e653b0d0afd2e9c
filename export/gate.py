"""Judging files, and what to do about an INT8 file that is not good enough: keep its worst layers in float."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgebrain.types import Image8, Precision

from .formats import FLOAT, Target
from .make import Made, Maker
from .progress import Say
from .to_onnx import in_batches
from .verify import Comparison, Judge, Outputs

_SEARCHED = 64
"""Inputs that layers are ranked on."""


@dataclass(frozen=True)
class Row:
    """One file and its verdict; a line of the export report.

    Attributes:
        made: The file.
        outputs: What it gives on the gate's inputs.
        latency_ms: Of one image on one thread of this machine; None where its engine is not here.
        float_layers: Layers that had to stay in float, the worst first.
        comparison: Against the float file; None for the float file itself.
    """

    made: Made
    outputs: Outputs
    latency_ms: float | None
    float_layers: tuple[str, ...] = ()
    comparison: Comparison | None = None

    @property
    def failures(self) -> tuple[str, ...]:
        """Limits that are broken, in words."""
        return () if self.comparison is None else self.comparison.failures


def make_rows(
    maker: Maker, targets: Sequence[Target], images: Image8, judge: Callable[[Outputs], Judge], say: Say
) -> list[Row]:
    """Make files and judge each against the float one.

    Args:
        maker: Makes them.
        targets: Which ones; the float one is the first.
        images: The gate's inputs, uint8 [N, 1, H, W].
        judge: Gives the judge, from the outputs of the float file.
        say: Told what is being done.

    Returns:
        A row per target, in their order.
    """
    rows: list[Row] = []
    judging: Judge | None = None
    for target in targets:
        say(f"{target.file}: making and judging")
        made = maker.make(target)
        row = Row(made, in_batches(made.open(), images), made.latency_ms(images[:1]))
        if target == FLOAT:
            judging = judge(row.outputs)
        else:
            assert judging is not None
            row = judged(row, rows[0], judging)
            if row.failures and target.precision is Precision.INT8:
                row = _search(maker, row, rows[0], judging, images, say)
        rows.append(row)
    return rows


def judged(row: Row, original: Row, judge: Judge) -> Row:
    """The row with its comparison, made anew."""
    if row is original:
        return row
    return replace(row, comparison=judge.compare(original.outputs, row.outputs))


def _search(  # noqa: PLR0917 - all that the caller has at hand
    maker: Maker, failed: Row, original: Row, judge: Judge, images: Image8, say: Say
) -> Row:
    """Keep the worst layers in float, more and more of them, until the gate passes; the failed row if it never does."""
    target = failed.made.target
    most = int(len(maker.quantisable()) * judge.limits.float_layers)
    if not most:
        return failed
    ranked = [name for name, _ in sorted(_damage(maker, target, original, images, say), key=lambda x: (-x[1], x[0]))]
    for count in _steps(most):
        say(f"{target.file}: {count} of {len(ranked)} layers in float")
        kept = tuple(ranked[:count])
        made = maker.make(target, kept)
        row = Row(made, in_batches(made.open(), images), failed.latency_ms, kept)
        row = judged(row, original, judge)
        if not row.failures:
            return replace(row, latency_ms=made.latency_ms(images[:1]))
    return failed


def _damage(maker: Maker, target: Target, original: Row, images: Image8, say: Say) -> Iterator[tuple[str, float]]:
    """How far the logits move when one layer alone is INT8."""
    names = maker.quantisable()
    some = images[:: max(1, len(images) // _SEARCHED)][:_SEARCHED]
    exact = original.outputs["logits"][:: max(1, len(images) // _SEARCHED)][:_SEARCHED]
    for number, name in enumerate(names, 1):
        say(f"{target.file}: layer {number} of {len(names)} alone in INT8")
        made = maker.make(target, [other for other in names if other != name])
        found = in_batches(made.open(), some)["logits"]
        yield name, float(np.square(found - exact).mean())


def _steps(most: int) -> Iterator[int]:
    count = 1
    while count <= most:
        yield count
        count += max(1, count // 2)
