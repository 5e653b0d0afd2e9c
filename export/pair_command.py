"""What ``edgebrain pair`` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgebrain.errors import EXIT_OK
from edgebrain.train.given_splits import read_splits

from .commands import require_export


def run_pair(
    *,
    first: str,
    second: str | None,
    splits: list[Path],
    output: Path,
    share: float,
    negatives: bool | None,
    version: str | None,
    data_name: str | None,
    left_out: Sequence[str] = (),
) -> int:
    """Give a bundle a second reader, and print what that does to its figures.

    Raises:
        MissingExtra: The extra ``export`` is not installed.
        EdgebrainError: See :func:`edgebrain.export.pair.pair`.
    """
    require_export("Pairing")
    from rich.console import Console
    from rich.table import Table

    from edgebrain.train.splits import one_vocabulary

    from .left_out import read_left_out
    from .markup import for_people, percent, plain
    from .pair import Pairing, pair
    from .progress import telling

    others = read_left_out(left_out)
    samples = one_vocabulary(read_splits(splits))
    name = for_people(data_name or ", ".join(path.stem for path in splits), "--data-name")
    with telling() as say:
        done = pair(Pairing(first, second, samples, output, share, negatives, version, name, others, say))
    console = Console(highlight=False, markup=False)
    figures = Table("test split", "accuracy", "macro-F1", "ECE", box=None, pad_edge=False)
    for precision, found in done.measured.evaluations.items():
        figures.add_row(precision, percent(found.accuracy), percent(found.macro_f1), plain(found.calibration.ece))
    console.print(figures)
    console.print(f"second reader: {done.fit.describe()}")
    console.print(f"decision rests on {done.measured.rests_on}")
    console.print(f"bundle: {output}")
    return EXIT_OK
