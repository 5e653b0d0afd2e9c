"""Splits that are given together must not let a scan train a model and judge it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgebrain.errors import UsageError
from edgebrain.labelled import Sample, write_samples
from edgebrain.train.given_splits import check_apart, read_splits


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (("a.png", "g", "train"), ("b.png", "g", "test"), "The group of 'b.png' is in the splits train and test"),
        (("a.png", "", "train"), ("./a.png", "", "val"), "The file './a.png' is in the splits train and val"),
        (("a.png", "g", "val"), ("b.png", "g", "test"), "val and test"),
        (("a.png", "g", "external"), ("b.png", "g", "train"), "external and train"),
        (("a.png", "g", "external"), ("b.png", "g", "test"), ""),
        (("a.png", "g", "train"), ("b.png", "g", "train"), ""),
        (("a.png", "g", "train"), ("b.png", "g", ""), ""),
        (("a.png", "", "train"), ("b.png", "", "test"), ""),
    ],
)
def test_what_may_share_a_group(one: tuple[str, str, str], other: tuple[str, str, str], message: str) -> None:
    samples = [Sample(path, "glioma", group=group, split=split) for path, group, split in (one, other)]
    if message:
        with pytest.raises(UsageError, match=message):
            check_apart(samples)
    else:
        check_apart(samples)


def test_manifests_are_looked_at_together(tmp_path: Path) -> None:
    paths = []
    for name, split in (("a", "train"), ("b", "test")):
        (tmp_path / f"{name}.png").touch()
        paths.append(tmp_path / f"{name}.csv")
        write_samples(paths[-1], [Sample(str(tmp_path / f"{name}.png"), "glioma", group="g", split=split)])
    assert len(read_splits(paths[:1])) == 1
    with pytest.raises(UsageError, match="splits train and test"):
        read_splits(paths)
