"""From what a user names to the files to read: paths, folders, patterns, a list on standard input, a watched folder."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from edgebrain.errors import ScanError, UnreadableScan
from edgebrain.readers import SUFFIXES

_PATTERN = frozenset("*?[")
_CHUNK = 1 << 16
EMPTY_LOOKS = 10
"""Looks at which an empty file must be unchanged until a watch hands it out, to become an error that somebody sees."""


@dataclass(frozen=True)
class Refused:
    """Something named by the user that gives no file; becomes an error record in its place."""

    path: str
    error: ScanError


@dataclass(frozen=True)
class Partial:
    """A file of which an earlier run did some frames."""

    path: str
    done: frozenset[int]


@dataclass(frozen=True)
class Middle:
    """A file for which one frame speaks: the middle one (``readers.middle``), as for labelled files."""

    path: str


Item = str | Refused | Partial | Middle


class Look(NamedTuple):
    """What a look at a watched folder found ready, each list sorted by folder and name.

    Attributes:
        there: Files that were there when the watch began, and have not changed since.
        arrived: Files that came, or were written again, after that.
    """

    there: list[str]
    arrived: list[str]


class _Mark(NamedTuple):
    """What tells a file from another one of the same name."""

    size: int
    time_ns: int
    inode: int


class _Waiting(NamedTuple):
    """A file that is not handed out yet, and at how many further looks it was the same."""

    mark: _Mark
    looks: int


def expand(names: Iterable[str], *, recursive: bool = False) -> Iterator[Item]:
    """The files behind names, in order; the contents of a folder are sorted by name.

    Args:
        names: Files, folders and glob patterns. A file is taken whatever it is called; of folders, files with a
            scan's suffix that are not hidden.
        recursive: Go into sub-folders, too; links to folders are not followed.

    Yields:
        Paths: as given, or the found file joined to the given folder; or a refusal for a folder or pattern without
        scans.
    """
    for name in names:
        if os.path.isdir(name):  # noqa: PTH112 - Path would change what the name is
            yield from _folder(name, recursive=recursive)
        elif _PATTERN & set(name) and "\0" not in name and not os.path.lexists(name):
            yield from _pattern(name, recursive=recursive)
        else:
            yield name


def _folder(folder: str, *, recursive: bool) -> Iterator[Item]:
    empty = True
    try:
        for path in _walk(folder, recursive=recursive):
            empty = False
            yield path
    except OSError as error:
        yield Refused(folder, UnreadableScan(f"{folder}: the folder cannot be listed: {error.strerror}."))
        return
    if empty:
        hint = "Give another folder." if recursive else "Look into sub-folders with --recursive."
        yield Refused(folder, UnreadableScan(f"{folder}: the folder has no scans directly in it.", remedy=hint))


def _walk(folder: str, *, recursive: bool) -> Iterator[Item]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith("."):
            continue  # editors and file managers leave hidden companions of images behind
        if entry.is_dir(follow_symlinks=False):
            if recursive:
                yield from _sub_folder(entry.path)
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122 - any name, not only UTF-8
            yield entry.path


def _sub_folder(folder: str) -> Iterator[Item]:
    # One that may not be listed, or is gone again, is one bad row; its neighbours go on.
    try:
        yield from _walk(folder, recursive=True)
    except OSError as error:
        yield Refused(folder, UnreadableScan(f"{folder}: the folder cannot be listed: {error.strerror}."))


def _pattern(pattern: str, *, recursive: bool) -> Iterator[Item]:
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - keeps names as they are
    if not matches:
        yield Refused(pattern, UnreadableScan(f"{pattern}: no file matches.", remedy="Check the path."))
    yield from expand(matches, recursive=recursive)


def from_stream(stream: BinaryIO) -> Iterator[str]:
    """Names from a list, one a line, or separated by NUL bytes (``find -print0``); empty ones are skipped."""
    # What has arrived is enough for a look at the separator: a name of a NUL list may itself hold newlines.
    read = getattr(stream, "read1", stream.read)
    chunk = read(_CHUNK)
    separator, strip = (b"\0", b"") if b"\0" in chunk else (b"\n", b"\r")
    rest = b""
    while chunk:
        *names, rest = (rest + chunk).split(separator)
        yield from _decoded(names, strip)
        chunk = read(_CHUNK)
    yield from _decoded([rest], strip)


def _decoded(names: Iterable[bytes], strip: bytes) -> Iterator[str]:
    for raw in names:
        name = raw.rstrip(strip)
        if name:
            yield os.fsdecode(name)


def watch(
    folder: str, *, recursive: bool, interval: float = 1.0, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Look]:
    """New files of a folder, for ever: first what is there, then what arrives.

    A file is handed out once its size and time have not changed for one interval, so that none is read half-copied; an
    empty one, which is most often about to be filled, after EMPTY_LOOKS of them. A file that was written again, or
    replaced under its name, is a new one. Sub-folders that cannot be listed are left out until they can.

    Args:
        folder: Folder to look at.
        recursive: Look into sub-folders, too.
        interval: Seconds between looks.
        sleep: Waits; replaced in tests.

    Yields:
        What became ready together; empty lists when a look found nothing.
    """
    start: dict[str, _Mark] | None = None
    handed: dict[str, _Mark] = {}
    waiting: dict[str, _Waiting] = {}
    while True:
        try:
            found = list(_walk(folder, recursive=recursive))
        except OSError as error:
            raise UnreadableScan(f"{folder}: the folder cannot be listed any more: {error.strerror}.") from error
        marks = {path: mark for path in found if isinstance(path, str) and (mark := _mark(path)) is not None}
        start = dict(marks) if start is None else start
        if len(found) == sum(isinstance(path, str) for path in found):
            # What is gone is forgotten, so that a watch of months does not grow.
            handed = {path: mark for path, mark in handed.items() if path in marks}
        look, seen = Look([], []), {}
        for path, mark in marks.items():
            if handed.get(path) == mark:
                continue
            since = waiting.get(path)
            same = since.looks + 1 if since is not None and since.mark == mark else 0
            if same >= (1 if mark.size else EMPTY_LOOKS):
                (look.there if start.pop(path, None) == mark else look.arrived).append(path)
                handed[path] = mark
            else:
                seen[path] = _Waiting(mark, same)
        waiting = seen
        yield look
        sleep(interval)


def _mark(path: str) -> _Mark | None:
    try:
        facts = os.stat(path)  # noqa: PTH116 - any name, not only UTF-8
    except OSError:
        return None  # gone again, or a link whose target has not arrived
    return _Mark(facts.st_size, facts.st_mtime_ns, facts.st_ino)
