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
        with os.scandir(folder) as entries:
            return sorted(folder / entry.name for entry in entries if _is_folder(entry) and not _hidden(entry.name))
    except OSError as error:
        raise UsageError(f"Cannot list {str(folder)!r}: {error.strerror or error}.") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link that leads in a circle leads to no folder, like one that leads nowhere
            return False
        raise


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
