"""What ``edgebrain heads`` does."""

from __future__ import annotations

from pathlib import Path

from edgebrain.errors import EXIT_OK
from edgebrain.train.commands import require_training
from edgebrain.train.given_splits import read_splits


def run_heads(model: str, splits: list[Path], output: Path, *, seed: int) -> int:
    """Meta-learn heads, write the bundle with them, and print how good they are.

    Raises:
        MissingExtra: The extra ``train`` is not installed.
        EdgebrainError: See :func:`edgebrain.export.heads.add_heads`.
    """
    require_training()
    from edgebrain.train.meta_progress import Watch

    from .heads import EPISODES, SHOTS, add_heads

    samples = read_splits(splits)
    with Watch(len(samples), "embedding") as watch:
        made = add_heads(model, samples, output, seed=seed, follow=watch.step)
    from rich.console import Console
    from rich.table import Table

    from .markup import plain

    table = Table("head", "labels", f"{SHOTS}-shot accuracy, {EPISODES} episodes", box=None, pad_edge=False)
    for one in made:
        table.add_row(one.name, ", ".join(one.labels), plain(one.accuracy))
    console = Console(highlight=False, markup=False)
    console.print(table)
    console.print(f"bundle: {output}")
    return EXIT_OK
