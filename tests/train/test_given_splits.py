"""Splits that are given together must not let a scan train a model and judge it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgebrain.errors import UsageError
from edgebrain.labelled import Sample, write_samples
from edgebrain.train.given import from_splits
from edgebrain.train.given_splits import (
    check_apart,
    read_given,
    read_splits,
    read_unreadable,
    unreadable_file,
    write_given,
)


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


def test_names_of_unreadable_files_lie_beside_a_manifest_as_long_as_there_are_any(tmp_path: Path) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for k, path in enumerate(paths):
        (tmp_path / f"{k}.png").touch()
        samples = [Sample(str(tmp_path / f"{k}.png"), "glioma", split="train")]
        write_given(path, samples, ("z.png", f"\udcff{k}.png"))  # a name need not be text
        assert read_given(path).unreadable == ("z.png", f"\udcff{k}.png")
    together = from_splits(paths, ["glioma"])
    assert len(together.samples) == 2
    assert together.unreadable == ("z.png", "z.png", "\udcff0.png", "\udcff1.png")
    write_given(paths[1], samples, ())
    assert not unreadable_file(paths[1]).exists()
    assert read_unreadable(paths[1]) == ()


@pytest.mark.parametrize(
    "content", [b"5", b"null", b'"abc"', b"[null]", b'{"a": "b"}', b"[", b"", b'["\xff"]', b"[" * 100_000]
)
def test_names_that_are_no_list_of_names_are_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").touch()
    splits = tmp_path / "splits.csv"
    write_samples(splits, [Sample(str(tmp_path / "a.png"), "glioma", split="train")])
    unreadable_file(splits).write_bytes(content)
    for read in (read_given, lambda path: from_splits([path], ["glioma"])):
        with pytest.raises(UsageError, match=r"splits\.unreadable\.json is no list of file names.*Remove it"):
            read(splits)
