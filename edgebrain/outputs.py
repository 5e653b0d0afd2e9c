"""Where the bytes of results go: a stream, a file that grows row by row, a file that appears when it is complete.

Records, data manifests and audit reports are written with it. It stands outside of `edgebrain.results` and knows files
and errors only, so that the training half can use it too: a rule like "a device is never replaced" has one home.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from edgebrain.files import (
    beside,
    check_folder,
    claim,
    close,
    failing,
    kind_of,
    open_claimed,
    opening,
    overtaken,
    put_in_place,
    write_all,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_FLAGS = os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
KEPT = "What was written so far is kept: make room, then run the same command again with --resume."
LOST = "Make room, or name a file somewhere else, and run the command again."


class Output(Protocol):
    """Takes bytes; what has been written is out of the process when `write` returns.

    `write` and `commit` raise EdgebrainError naming the file when the disk is full or fails. BrokenPipeError passes
    through as it is: the reader of a pipe has seen enough, and the caller ends quietly.
    """

    def write(self, data: bytes) -> None:
        """Write all of it."""

    def commit(self) -> None:
        """End well: the result is complete."""

    def abort(self) -> None:
        """End after something went wrong elsewhere."""


class Stream:
    """An open binary stream, standard output for instance; it is flushed after every write and closed only if owned."""

    def __init__(self, stream: BinaryIO, name: str, *, owned: bool = False) -> None:
        self._stream = stream
        self._name = name
        self._owned = owned

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at it."""
        return self._stream.isatty()

    def write(self, data: bytes) -> None:
        """Write and flush."""
        with failing(self._name, LOST):
            rest = memoryview(data)
            while rest:
                # Unbuffered files may take a part only.
                rest = rest[self._stream.write(rest) :]
            self._stream.flush()

    def commit(self) -> None:
        """Close it if it is ours."""
        if self._owned:
            with failing(self._name, LOST):
                self._stream.close()

    def abort(self) -> None:
        """Close it if it is ours."""
        if self._owned:
            with contextlib.suppress(OSError):
                self._stream.close()


class GrowingFile:
    """A file that every write goes to at once: what is done survives a kill and can be watched with ``tail -f``.

    Args:
        path: The file; it is made if it is missing, and written to at its end.
        replace: Whether to put a new file in its place; that happens with the first write, so that a run which fails
            before its first result leaves the old one alone.
        size: How many bytes the caller has seen in it; None where that does not matter.
        finish: Called when all is on the disk, while no other run can write to it yet.

    Raises:
        UsageError: The file cannot be opened, another run is writing to it, or has written since the caller looked.
    """

    def __init__(
        self, path: Path, *, replace: bool = False, size: int | None = None, finish: Callable[[], None] | None = None
    ) -> None:
        self._path = Path(os.path.realpath(path))  # a link stays a link to the file that is replaced
        self._name = str(path)
        self._finish = finish
        self._file: int | None = None
        self._old: int | None = None
        if replace:
            check_folder(self._path)
        with opening(self._name):
            file = open_claimed(self._path, _FLAGS | os.O_APPEND)
        if size is not None and os.fstat(file).st_size != size:
            os.close(file)
            raise overtaken(self._name)
        if replace:
            self._old = file  # kept open for its lock: a second run must not replace the same file
        else:
            self._file = file

    def write(self, data: bytes) -> None:
        """Append with one write of the operating system (more only where it takes a part)."""
        with failing(self._name, KEPT):
            write_all(self._opened(), data)

    def commit(self) -> None:
        """Make sure that it is on the disk."""
        with failing(self._name, KEPT):
            file = self._opened()
            os.fsync(file)
            if self._finish is not None:
                self._finish()
            self._file = None
            os.close(file)
        self._release()

    def abort(self) -> None:
        """Keep what there is."""
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):
                os.close(file)
        self._release()

    def _release(self) -> None:
        old, self._old = self._old, None
        close(old)

    def _opened(self) -> int:
        if self._file is None:
            temporary = beside(self._path)
            file = os.open(temporary, _FLAGS | os.O_EXCL | os.O_APPEND, 0o666)
            try:
                claim(file, self._path)  # before anybody can find it
                put_in_place(temporary, self._path)
            except BaseException:
                os.close(file)
                temporary.unlink(missing_ok=True)
                raise
            self._file = file
        return self._file


class WholeFile:
    """A file that appears, or replaces an older one, only when it is complete; until then it has another name.

    Args:
        path: The file.
        remedy: What to do when the disk is full.
        ours: Whether the caller holds the lock of the file already.

    Raises:
        UsageError: Its folder cannot be written to, or another run is writing to it.
    """

    def __init__(self, path: Path, *, remedy: str = LOST, ours: bool = False) -> None:
        self._remedy = remedy
        self._path = Path(os.path.realpath(path))
        self._name = str(path)
        check_folder(self._path)
        self._temporary = beside(self._path)
        self._old: int | None = None
        self._is_new = not self._path.exists()
        if not ours and not self._is_new:
            with contextlib.suppress(OSError):  # it may be replaced where it may not be read; only the lock is missing
                self._old = open_claimed(self._path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            with opening(self._name):
                self._file: int | None = os.open(self._temporary, _FLAGS | os.O_EXCL, 0o666)
        except BaseException:
            self._release()
            raise

    def write(self, data: bytes) -> None:
        """Write to the temporary file."""
        assert self._file is not None
        with failing(self._name, self._remedy):
            write_all(self._file, data)

    def commit(self) -> None:
        """Give the file its name, once it is on the disk.

        Raises:
            UsageError: There was no such file at the beginning, and now there is one: another run was faster.
        """
        assert self._file is not None
        with failing(self._name, self._remedy):
            os.fsync(self._file)
            if self._is_new and self._path.exists():
                raise overtaken(self._name)
            put_in_place(self._temporary, self._path)
            file, self._file = self._file, None
            os.close(file)
        self._release()

    def abort(self) -> None:
        """Remove the temporary file; what had the name before still has it."""
        if self._file is None:
            return
        file, self._file = self._file, None
        with contextlib.suppress(OSError):
            os.close(file)
        with contextlib.suppress(OSError):
            self._temporary.unlink()
        self._release()

    def _release(self) -> None:
        old, self._old = self._old, None
        close(old)


def open_stream(path: Path) -> Stream:
    """Open a device or a pipe.

    Raises:
        UsageError: It cannot be opened.
    """
    with opening(str(path)):
        return Stream(path.open("wb", buffering=0), str(path), owned=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, all of it or nothing; what a link leads to is replaced, a device or a pipe is written to.

    Raises:
        EdgebrainError: The disk is full or fails.
        UsageError: The file cannot be written.
        BrokenPipeError: The reader of a pipe has gone.
    """
    output: Output = open_stream(path) if kind_of(path) == "stream" else WholeFile(path)
    try:
        output.write(data)
        output.commit()
    except BaseException:
        output.abort()
        raise
