from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebrain.errors import UnreadableScan
from edgebrain.inputs import EMPTY_LOOKS, Item, Refused, expand, from_stream, watch

NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"data")


def found(*names: str | Path, recursive: bool = False) -> list[str]:
    items = list(expand(map(str, names), recursive=recursive))
    assert all(isinstance(item, str) for item in items), items
    return [str(item) for item in items]


def only_refusal(items: Iterator[Item]) -> Refused:
    (item,) = items
    assert isinstance(item, Refused)
    assert isinstance(item.error, UnreadableScan)
    assert item.error.remedy
    return item


# Paths, folders, patterns


def test_files_are_taken_as_they_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "scan", "notes.txt")
    monkeypatch.chdir(tmp_path)
    names = ["./scan", "notes.txt", "missing.png", "scan", "-", "a//b/../c.png", ""]
    assert found(*names) == names


def test_a_folder_gives_its_scans_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a.jpg", "c.tiff", "notes.txt", ".hidden.png", "._a.jpg", "sub/d.png", ".cache/e.png", "f")
    assert found(tmp_path) == [f"{tmp_path}/{name}" for name in ("a.jpg", "b.PNG", "c.tiff")]
    assert found(f"{tmp_path}/") == [f"{tmp_path}/{name}" for name in ("a.jpg", "b.PNG", "c.tiff")]
    assert found(tmp_path, recursive=True)[-1] == f"{tmp_path}/sub/d.png"
    assert len(found(tmp_path, recursive=True)) == 4


def test_the_order_of_the_arguments_is_kept(tmp_path: Path) -> None:
    touch(tmp_path, "z/1.png", "a/2.png", "3.png")
    assert found(tmp_path / "z", tmp_path / "3.png", tmp_path / "a") == [
        f"{tmp_path}/{name}" for name in ("z/1.png", "3.png", "a/2.png")
    ]


def test_an_empty_folder_is_one_refusal_that_says_what_to_do(tmp_path: Path) -> None:
    touch(tmp_path, "sub/a.png", "notes.txt", ".b.png")
    item = only_refusal(expand([str(tmp_path)]))
    assert item.path == str(tmp_path)
    assert "--recursive" in str(item.error)
    (tmp_path / "empty").mkdir()
    item = only_refusal(expand([str(tmp_path / "empty")], recursive=True))
    assert "--recursive" not in str(item.error)


def test_links_to_folders_are_not_followed_but_links_to_files_are(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.png")
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    (tmp_path / "real" / "b.png").symlink_to("a.png")
    assert found(tmp_path, recursive=True) == [f"{tmp_path}/real/a.png", f"{tmp_path}/real/b.png"]


def test_a_sub_folder_that_vanishes_is_one_bad_row(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b/x.png", "c.png")
    items = expand([str(tmp_path)], recursive=True)
    assert next(items) == f"{tmp_path}/a.png"
    (tmp_path / "b" / "x.png").unlink()
    (tmp_path / "b").rmdir()
    gone, after = items
    assert isinstance(gone, Refused)
    assert gone.path == f"{tmp_path}/b"
    assert "cannot be listed" in gone.error.message
    assert after == f"{tmp_path}/c.png"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_listed(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    try:
        assert "Permission denied" in only_refusal(expand([str(tmp_path)])).error.message
    finally:
        tmp_path.chmod(0o700)


def test_patterns(tmp_path: Path) -> None:
    touch(tmp_path, "a1.png", "a2.png", "b1.png", "c/a3.png", ".a4.png", "d.png/e.png")
    assert found(tmp_path / "a*.png") == [f"{tmp_path}/a1.png", f"{tmp_path}/a2.png"]
    assert found(tmp_path / "[ab]1.png") == [f"{tmp_path}/a1.png", f"{tmp_path}/b1.png"]
    assert found(tmp_path / "a?.png") == [f"{tmp_path}/a1.png", f"{tmp_path}/a2.png"]
    assert found(tmp_path / "d*") == [f"{tmp_path}/d.png/e.png"]
    assert f"{tmp_path}/c/a3.png" in found(tmp_path / "**" / "a*.png", recursive=True)
    item = only_refusal(expand([f"{tmp_path}/z*.png"]))
    assert item.path == f"{tmp_path}/z*.png"
    assert "no file matches" in item.error.message


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    touch(tmp_path, "scan[1].png", "scan1.png")
    assert found(tmp_path / "scan[1].png") == [f"{tmp_path}/scan[1].png"]
    assert found(tmp_path / "scan*.png") == [f"{tmp_path}/scan1.png", f"{tmp_path}/scan[1].png"]


@pytest.mark.parametrize("name", ["x\0.png", "x\0/*.png", "*\0", "[\0/a?"])
def test_names_with_a_null_byte_reach_the_reader_that_refuses_them(name: str) -> None:
    assert found(name) == [name]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"sc\xe4n\xff.png")
    try:
        touch(tmp_path, name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert found(tmp_path) == [f"{tmp_path}/{name}"]
    assert found(tmp_path / "sc*.png") == [f"{tmp_path}/{name}"]
    assert Path(found(tmp_path)[0]).read_bytes() == b"data"


def test_nothing_is_looked_at_before_it_is_needed(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    items = expand(itertools.chain([str(tmp_path)], itertools.repeat("more.png")))
    assert list(itertools.islice(items, 3)) == [f"{tmp_path}/a.png", "more.png", "more.png"]


# Lists


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"", []),
        (b"\n\n\n", []),
        (b"a.png\nb c.png\n", ["a.png", "b c.png"]),
        (b"a.png\r\nb.png\r\n\r\n", ["a.png", "b.png"]),
        (b"a.png\nlast without end", ["a.png", "last without end"]),
        (b"a.png\0b.png\0", ["a.png", "b.png"]),
        (b"a\nb.png\0c\r\0", ["a\nb.png", "c\r"]),
        (b"a.png\0\0last", ["a.png", "last"]),
        (" ä.png \n".encode(), [" ä.png "]),
        (b"\xff\xfe.png\n", ["\udcff\udcfe.png"]),
    ],
)
def test_lists(data: bytes, names: list[str]) -> None:
    assert list(from_stream(io.BytesIO(data))) == names
    assert list(from_stream(cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", Slow(data)))))) == names


class Slow(io.RawIOBase):
    """A pipe that gives a few bytes at a time; the first portion holds a separator if there is one soon."""

    def __init__(self, data: bytes) -> None:
        self._parts = [data[:10], *(data[i : i + 1] for i in range(10, len(data)))]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        part = self._parts.pop(0) if self._parts else b""
        cast("memoryview", buffer)[: len(part)] = part
        return len(part)


@given(st.lists(NAMES, max_size=30))
def test_any_names_survive_a_nul_list(names: list[bytes]) -> None:
    listed = b"".join(name + b"\0" for name in names)
    assert [os.fsencode(name) for name in from_stream(io.BytesIO(listed))] == names


@given(st.lists(NAMES.filter(lambda name: not {10, 13} & set(name)), max_size=30), st.sampled_from([b"\n", b"\r\n"]))
def test_names_without_newlines_survive_a_list_of_lines(names: list[bytes], end: bytes) -> None:
    listed = b"".join(name + end for name in names)
    assert [os.fsencode(name) for name in from_stream(io.BytesIO(listed))] == names


def test_a_long_list_is_cut_at_no_chunk(tmp_path: Path) -> None:
    names = [f"{tmp_path}/{index:06}.png" for index in range(20_000)]
    for separator in ("\n", "\0"):
        assert list(from_stream(io.BytesIO(separator.join(names).encode()))) == names


def test_names_come_before_the_list_ends() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream:
        os.write(writing, b"first.png\nsec")
        names = from_stream(stream)
        assert next(names) == "first.png"
        os.write(writing, b"ond.png\n")
        assert next(names) == "second.png"
        os.close(writing)
        assert list(names) == []


# Watching


class Clock:
    """In the place of sleep: changes the folder between two looks."""

    def __init__(self, *changes: Callable[[], object]) -> None:
        self.changes = list(changes)
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.changes:
            self.changes.pop(0)()


def nothing() -> None:
    """A look at which nothing has changed."""


def both(
    folder: Path, count: int, *changes: Callable[[], object], recursive: bool = False
) -> list[tuple[list[str], list[str]]]:
    clock = Clock(*changes)
    seen = list(itertools.islice(watch(str(folder), recursive=recursive, interval=2.5, sleep=clock.sleep), count))
    assert clock.slept == [2.5] * (count - 1)
    return [([Path(path).name for path in look.there], [Path(path).name for path in look.arrived]) for look in seen]


def looks(folder: Path, count: int, *changes: Callable[[], object], recursive: bool = False) -> list[list[str]]:
    return [there + arrived for there, arrived in both(folder, count, *changes, recursive=recursive)]


def test_what_is_there_comes_after_one_interval_and_once(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a.png", "notes.txt", ".c.png")
    assert looks(tmp_path, 4) == [[], ["a.png", "b.png"], [], []]


def test_what_arrives_is_handed_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    assert looks(tmp_path, 5, nothing, lambda: touch(tmp_path, "b.png")) == [[], ["a.png"], [], ["b.png"], []]


def test_a_file_that_is_still_being_copied_waits(tmp_path: Path) -> None:
    def grow() -> None:
        with (tmp_path / "a.png").open("ab") as file:
            file.write(b"more")

    touch(tmp_path, "a.png")
    assert looks(tmp_path, 6, grow, grow, grow) == [[], [], [], [], ["a.png"], []]


def test_a_file_rewritten_in_the_same_size_waits_too(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    os.utime(tmp_path / "a.png", ns=(1, 1))
    assert looks(tmp_path, 3, lambda: os.utime(tmp_path / "a.png", ns=(2, 2))) == [[], [], ["a.png"]]


def test_a_file_that_comes_and_goes_harms_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png")
    assert looks(tmp_path, 4, (tmp_path / "a.png").unlink) == [[], ["b.png"], [], []]


def test_a_name_is_new_again_after_its_file_was_gone(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    changes = (nothing, (tmp_path / "a.png").unlink, lambda: touch(tmp_path, "a.png"))
    assert looks(tmp_path, 6, *changes) == [[], ["a.png"], [], [], ["a.png"], []]


def test_a_file_replaced_or_written_again_in_place_is_a_new_one(tmp_path: Path) -> None:
    scan, other = tmp_path / "a.png", tmp_path / "other"
    touch(tmp_path, "a.png", "other")
    for path in (scan, other):
        os.utime(path, ns=(1, 1))  # the same size and time: only the file itself is another one
    first: tuple[list[str], list[str]] = (["a.png"], [])
    assert both(tmp_path, 5, nothing, lambda: other.replace(scan)) == [
        ([], []),
        first,
        ([], []),
        ([], ["a.png"]),
        ([], []),
    ]
    again = (nothing, lambda: os.utime(scan, ns=(2, 2)))
    assert both(tmp_path, 5, *again) == [([], []), first, ([], []), ([], ["a.png"]), ([], [])]


def test_what_was_there_is_told_from_what_came_or_changed(tmp_path: Path) -> None:
    touch(tmp_path, "old.png", "changed.png")

    def change() -> None:
        touch(tmp_path, "new.png")
        (tmp_path / "changed.png").write_bytes(b"other data")

    assert both(tmp_path, 3, change) == [([], []), (["old.png"], []), ([], ["changed.png", "new.png"])]


def test_an_empty_file_is_handed_out_when_it_has_content(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    fill = (*[nothing] * (EMPTY_LOOKS - 2), lambda: touch(tmp_path, "a.png"))
    assert looks(tmp_path, EMPTY_LOOKS + 2, *fill) == [[]] * EMPTY_LOOKS + [["a.png"], []]


def test_a_file_that_stays_empty_is_handed_out_late_and_again_when_it_has_content(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    fill = (*[nothing] * EMPTY_LOOKS, lambda: touch(tmp_path, "a.png"))
    expected: list[list[str]] = [[]] * EMPTY_LOOKS + [["a.png"], [], ["a.png"]]
    assert looks(tmp_path, EMPTY_LOOKS + 3, *fill) == expected


def test_sub_folders_on_request(tmp_path: Path) -> None:
    touch(tmp_path, "day1/a.png")
    assert looks(tmp_path, 2) == [[], []]
    assert looks(tmp_path, 2, recursive=True) == [[], ["a.png"]]


def test_a_broken_link_waits_for_its_target(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("later")
    assert looks(tmp_path, 4, nothing, lambda: touch(tmp_path, "later")) == [[], [], [], ["a.png"]]


def test_a_watched_folder_that_is_gone_is_one_clear_error(tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    with pytest.raises(UnreadableScan, match="inbox: the folder cannot be listed any more"):
        looks(folder, 3, folder.rmdir)
