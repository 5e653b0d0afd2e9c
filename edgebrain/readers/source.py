"""From a path to its bytes: whatever the path is, the answer is bytes or one clear error, never a hang."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from edgebrain.errors import ScanTooLarge, UnreadableScan
from edgebrain.readers.headers import Limits

if TYPE_CHECKING:
    from edgebrain.errors import ScanError

DEFAULT_LIMITS = Limits()

# A pipe put in the file's place between the look and the opening must not block; a child must not inherit the file.
OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

_KINDS = (
    (stat.S_ISDIR, "a folder", "Give the files in it, or the folder to a command that takes folders."),
    (stat.S_ISFIFO, "a named pipe", "Write its content to a file first."),
    (stat.S_ISSOCK, "a socket", "Give a file."),
    (stat.S_ISCHR, "a device", "Give a file."),
    (stat.S_ISBLK, "a device", "Give a file."),
)


def load(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Read a file whole.

    Args:
        path: Of a regular file, or of a link to one; names that are not UTF-8 are fine.
        limits: Only ``max_file_bytes`` counts here.

    Returns:
        The file's bytes, at least one.

    Raises:
        UnreadableScan: The path is missing, no regular file, empty or may not be read.
        ScanTooLarge: The file is over the limit.
    """
    name = os.fspath(path)
    try:
        _check(os.stat(name), name, limits)  # noqa: PTH116 - Path would change what the name is
        descriptor = os.open(name, OPEN_FLAGS)
        try:
            size = _check(os.fstat(descriptor), name, limits)
            data = _read(descriptor, size)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise _explain(name, error) from error
    if len(data) < size:
        raise UnreadableScan(
            f"{name}: the file got shorter while it was being read.", remedy="Wait until it is complete."
        )
    return data


def _read(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, size)
    if len(data) == size:
        return data
    parts = [data]
    left = size - len(data)
    while left and parts[-1]:
        parts.append(os.read(descriptor, left))
        left -= len(parts[-1])
    return b"".join(parts)


def _check(found: os.stat_result, name: str, limits: Limits) -> int:
    """Size in bytes of what was found, if it is a file that may be read."""
    for is_kind, title, remedy in _KINDS:
        if is_kind(found.st_mode):
            raise UnreadableScan(f"{name}: this is {title}, not a file.", remedy=remedy)
    if found.st_size == 0:
        raise UnreadableScan(f"{name}: the file is empty.", remedy="Copy or export it again.")
    if found.st_size > limits.max_file_bytes:
        raise ScanTooLarge(
            f"{name}: the file has {found.st_size:,} bytes; the limit is {limits.max_file_bytes:,}.",
            remedy="Give single slices or a smaller export.",
        )
    return found.st_size


def _explain(name: str, error: OSError | ValueError) -> ScanError:
    if isinstance(error, ValueError):  # a null byte in the name
        return UnreadableScan(f"{name}: this cannot be a file name ({error}).", remedy="Check the name.")
    if isinstance(error, FileNotFoundError) and os.path.islink(name):  # noqa: PTH114 - any name, not only UTF-8
        return UnreadableScan(
            f"{name}: a link to {os.readlink(name)}, which does not exist.",  # noqa: PTH115 - the same
            remedy="Repair the link.",
        )
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return UnreadableScan(f"{name}: there is no such file.", remedy="Check the path.")
    if isinstance(error, PermissionError):
        return UnreadableScan(f"{name}: no permission to read it.", remedy="Check who owns it (ls -l).")
    if error.errno == errno.ELOOP:
        return UnreadableScan(f"{name}: a link that leads in a circle.", remedy="Repair the link.")
    return UnreadableScan(f"{name}: cannot be read ({error.strerror}).", remedy="Check the disk or the network share.")
