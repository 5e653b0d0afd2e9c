"""Opening, locking, naming and placing files so that no run spoils what another one writes; errors name the file."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgebrain.errors import EdgebrainError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

ELSEWHERE = "Name another file."


def kind_of(path: Path) -> Literal["new", "full", "stream"]:
    """Look at what is there; a device, a pipe or ``/dev/stdout`` is written to like standard output, never replaced.

    Raises:
        UsageError: It is a folder, or cannot be looked at.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return "new"
    except OSError as exc:
        raise UsageError(f"Cannot write to {path}: {exc.strerror}.", remedy=ELSEWHERE) from exc
    if stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{path} is a folder.", remedy="Name a file in it.")
    if not stat.S_ISREG(found.st_mode):
        return "stream"
    return "full" if found.st_size else "new"


def claim(descriptor: int, path: Path) -> None:
    """Lock an open file for this run, until it is closed; two runs that write to one file would spoil it.

    Raises:
        UsageError: Another run holds it.
    """
    try:
        import fcntl  # POSIX only; elsewhere there is no such lock to take
    except ImportError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise UsageError(
            f"Another run is writing to {path}.", remedy="Wait for it to end, or name another file."
        ) from exc
    except OSError:
        return  # some network file systems have no locks; going on without is what happened before there was one


def open_claimed(path: Path, flags: int) -> int:
    """Open a file and lock it, the one that has the name: a run that ended just now may have put another one there.

    Raises:
        OSError: It cannot be opened.
        UsageError: Another run holds it.
    """
    while True:
        file = os.open(path, flags, 0o666)
        try:
            claim(file, path)
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def close(file: int | None) -> None:
    """Close a descriptor, if there is one, whatever happens."""
    if file is not None:
        with contextlib.suppress(OSError):
            os.close(file)


def overtaken(name: str) -> UsageError:
    """Say that a file is no longer what it was when the run began."""
    return UsageError(f"Another run has written to {name} in the meantime.", remedy=ELSEWHERE)


def write_all(file: int, data: bytes) -> None:
    """Write all of it; one write may take a part only."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def beside(path: Path) -> Path:
    """A name for a temporary file in the same folder."""
    import secrets  # it brings hmac and random

    return path.with_name(f".edgebrain-{secrets.token_hex(6)}.partial")


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a file its name, durably.

    Raises:
        OSError: It cannot be done; the file keeps its temporary name.
    """
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


def check_folder(path: Path) -> None:
    """Refuse a file whose folder cannot hold a new one.

    Raises:
        UsageError: The folder is missing or cannot be written to.
    """
    if not path.parent.is_dir():
        raise UsageError(
            f"Cannot write to {path}: its folder does not exist.", remedy="Make it first, or name another."
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"Cannot write to {path}: its folder cannot be changed.", remedy=ELSEWHERE)


@contextlib.contextmanager
def opening(name: str) -> Iterator[None]:
    """Turn what the system says when a file is opened into a UsageError."""
    try:
        yield
    except OSError as exc:
        raise UsageError(f"Cannot write to {name}: {exc.strerror}.", remedy=ELSEWHERE) from exc


@contextlib.contextmanager
def failing(name: str, remedy: str) -> Iterator[None]:
    """Turn what the system says when a file is written into an EdgebrainError; BrokenPipeError stays what it is."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise EdgebrainError(f"Cannot go on writing to {name}: {exc.strerror}.", remedy=remedy) from exc
