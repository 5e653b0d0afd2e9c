"""What lies in a folder of scans, in the same order on every system, and what it is called from elsewhere."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from edgebrain.errors import UsageError


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones.

    Raises:
        UsageError: It cannot be listed.
    """
    try:
        inside = real(folder)
        with os.scandir(folder) as entries:
            return sorted(
                folder / entry.name for entry in entries if not _hidden(entry.name) and _is_folder(entry, inside)
            )
    except OSError as error:
        raise UsageError(f"Cannot list {str(folder)!r}: {error.strerror or error}.") from error


def _is_folder(entry: os.DirEntry[str], inside: Path) -> bool:
    """Whether an entry of a folder is one, too; a link that leads back to where it lies, or in a circle, is none."""
    try:
        if not entry.is_dir():
            return False
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise
    return not (entry.is_symlink() and inside.is_relative_to(real(entry.path)))


def scans_below(folder: Path) -> list[Path]:
    """The files in a folder, and in the folders in it, whose names end like those of scans; sorted."""
    from edgebrain.readers import SUFFIXES  # manifests need no reader

    endings = tuple(SUFFIXES)
    files: list[Path] = []
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _hidden(name)]
        files += [Path(top, name) for name in names if name.lower().endswith(endings) and not _hidden(name)]
    return sorted(files, key=lambda file: file.relative_to(folder).as_posix())


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def absolute(path: str | Path) -> Path:
    """Make a path absolute without following links: a data set is called what the user calls it."""
    return Path(os.path.normpath(Path(path).absolute()))


def real(path: str | Path) -> Path:
    """Where a path leads, links followed; unlike ``Path.resolve``, one that leads in a circle is no error."""
    return Path(os.path.realpath(path))
