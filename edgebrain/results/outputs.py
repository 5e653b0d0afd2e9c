"""Where the bytes of results go: a stream, a file that grows row by row, a file that appears when it is complete."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from edgebrain.errors import EdgebrainError, UsageError
from edgebrain.results.resume import claim

if TYPE_CHECKING:
    from collections.abc import Iterator

_FLAGS = os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
KEPT = "What was written so far is kept: make room, then run the same command again with --resume."
LOST = "Make room, or name a file somewhere else with --output, and run the command again."


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
        with _failing(self._name, LOST):
            rest = memoryview(data)
            while rest:
                # Unbuffered files may take a part only.
                rest = rest[self._stream.write(rest) :]
            self._stream.flush()

    def commit(self) -> None:
        """Close it if it is ours."""
        if self._owned:
            with _failing(self._name, LOST):
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

    Raises:
        UsageError: The file cannot be opened, or another run is writing to it.
    """

    def __init__(self, path: Path, *, replace: bool = False) -> None:
        self._path = Path(os.path.realpath(path))  # a link stays a link to the file that is replaced
        self._name = str(path)
        self._file: int | None = None
        if replace:
            _check_folder(self._path)
        with _opening(self._name):
            file = os.open(self._path, _FLAGS | os.O_APPEND, 0o666)
        try:
            claim(file, path)
        except UsageError:
            os.close(file)
            raise
        if replace:
            os.close(file)
        else:
            self._file = file

    def write(self, data: bytes) -> None:
        """Append with one write of the operating system (more only where it takes a part)."""
        with _failing(self._name, KEPT):
            _write_all(self._opened(), data)

    def commit(self) -> None:
        """Make sure that it is on the disk."""
        with _failing(self._name, KEPT):
            file = self._opened()
            os.fsync(file)
            self._file = None
            os.close(file)

    def abort(self) -> None:
        """Keep what there is."""
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):
                os.close(file)

    def _opened(self) -> int:
        if self._file is None:
            temporary = _beside(self._path)
            file = os.open(temporary, _FLAGS | os.O_EXCL | os.O_APPEND, 0o666)
            try:
                _put_in_place(temporary, self._path)
            except BaseException:
                os.close(file)
                temporary.unlink(missing_ok=True)
                raise
            claim(file, self._path)
            self._file = file
        return self._file


class WholeFile:
    """A file that appears, or replaces an older one, only when it is complete; until then it has another name.

    Args:
        path: The file.
        remedy: What to do when the disk is full.

    Raises:
        UsageError: Its folder cannot be written to.
    """

    def __init__(self, path: Path, *, remedy: str = LOST) -> None:
        self._remedy = remedy
        self._path = Path(os.path.realpath(path))
        self._name = str(path)
        _check_folder(self._path)
        self._temporary = _beside(self._path)
        with _opening(self._name):
            self._file: int | None = os.open(self._temporary, _FLAGS | os.O_EXCL, 0o666)

    def write(self, data: bytes) -> None:
        """Write to the temporary file."""
        assert self._file is not None
        with _failing(self._name, self._remedy):
            _write_all(self._file, data)

    def commit(self) -> None:
        """Give the file its name, once it is on the disk."""
        assert self._file is not None
        with _failing(self._name, self._remedy):
            os.fsync(self._file)
            _put_in_place(self._temporary, self._path)
            file, self._file = self._file, None
            os.close(file)

    def abort(self) -> None:
        """Remove the temporary file; what had the name before still has it."""
        if self._file is None:
            return
        file, self._file = self._file, None
        with contextlib.suppress(OSError):
            os.close(file)
        with contextlib.suppress(OSError):
            self._temporary.unlink()


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _beside(path: Path) -> Path:
    return path.with_name(f".edgebrain-{secrets.token_hex(6)}.partial")


def _put_in_place(temporary: Path, path: Path) -> None:
    with contextlib.suppress(FileNotFoundError, PermissionError):
        temporary.chmod(path.stat().st_mode & 0o777)  # who could read the old file can read the new one, nobody else
    temporary.replace(path)
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(OSError):  # not every file system can; the name is right either way
                os.fsync(folder)
        finally:
            os.close(folder)


def _check_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise UsageError(f"The folder of {path} does not exist.", remedy="Make it first, or name another one.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"The folder of {path} cannot be written to.", remedy="Name another file with --output.")


@contextlib.contextmanager
def _opening(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise UsageError(f"Cannot write to {name}: {exc.strerror}.", remedy="Name another file with --output.") from exc


@contextlib.contextmanager
def _failing(name: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise EdgebrainError(f"Cannot go on writing to {name}: {exc.strerror}.", remedy=remedy) from exc
