"""A resume must be given what the run was started with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgebrain.errors import UsageError
from edgebrain.labelled import Sample, read_labelled, write_samples
from edgebrain.train.config import Recipe, load_recipe
from edgebrain.train.started import check_started_with, marks, started_with

Samples = tuple[Sample, ...]
FOLDER = Path("run")


def regrouped(samples: Sequence[Sample]) -> list[Sample]:
    return [replace(samples[0], group=samples[1].group), *samples[1:]]


def copied(samples: Sequence[Sample]) -> list[Sample]:
    return [replace(samples[0], copy_of=samples[1].path), *samples[1:]]


def doubted(samples: Sequence[Sample]) -> list[Sample]:
    return [replace(samples[0], conflict=True), *samples[1:]]


@pytest.mark.parametrize("change", [regrouped, copied, doubted])
def test_other_groups_copies_and_conflicts_are_refused_with_the_way_out(
    tiny: Recipe, phantoms: Samples, change: Callable[[Sequence[Sample]], list[Sample]]
) -> None:
    start, other = started_with(tiny, phantoms), change(phantoms)
    check_started_with(start, tiny, phantoms, FOLDER)
    with pytest.raises(UsageError, match=r"other groups, copies or conflicts.*--splits run.splits\.csv"):
        check_started_with(start, tiny, other, FOLDER)
    # A run from before they were kept goes on.
    old = {key: start[key] for key in ("recipe", "data")}
    check_started_with(old, tiny, other, FOLDER)
    with pytest.raises(UsageError, match="other data"):
        check_started_with(old, tiny, other[1:], FOLDER)


def test_what_groups_are_called_and_where_files_lie_does_not_matter(phantoms: Samples, tmp_path: Path) -> None:
    samples = [*phantoms[:-1], replace(phantoms[-1], group=phantoms[0].group, copy_of=phantoms[1].path)]
    renamed = [replace(s, group=f"patient {s.group}") for s in samples]
    moved = [replace(s, path=f"/x{s.path}", copy_of=f"/x{s.copy_of}" if s.copy_of else "") for s in samples]
    (tmp_path / "run").mkdir()
    write_samples(tmp_path / "run" / "splits.csv", samples)
    read = read_labelled(tmp_path / "run" / "splits.csv")
    assert marks(samples) == marks(renamed) == marks(moved) == marks(read)
    assert marks(samples) != marks(phantoms)


def test_what_is_no_start_is_refused(tiny: Recipe) -> None:
    with pytest.raises(UsageError, match="no checkpoint of a training run"):
        check_started_with({}, tiny, None, FOLDER)


def test_a_default_that_changed_since_the_start_is_named() -> None:
    now = load_recipe("edge-base")
    before = load_recipe("edge-base", ["input.preprocessing=2"])
    start = started_with(before, ())
    message = r"another recipe.*here --set input\.preprocessing=2\.$"
    with pytest.raises(UsageError, match=message):
        check_started_with(start, now, None, FOLDER)
    check_started_with(start, before, None, FOLDER)
    # Until version 0.3 a run did not say it.
    del start["recipe"]["input"]["preprocessing"]
    with pytest.raises(UsageError, match=message):
        check_started_with(start, now, None, FOLDER)
    check_started_with(start, before, None, FOLDER)
