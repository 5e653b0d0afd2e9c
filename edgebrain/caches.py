"""Where engines keep what they have compiled: private folders below the user's cache folder.

A compiled model is run as it is, so nobody else may be able to put one there: a folder that others can write to is not
used. Nothing in these folders is needed; whatever is deleted is made again.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from edgebrain.errors import EdgebrainError

KINDS = ("openvino", "tensorrt")
"""One folder each. Nothing is put into that of OpenVINO any more; what older versions left there can be cleared."""
VARIABLE = "EDGEBRAIN_CACHE"
"""Environment variable that names another folder, for containers and read-only homes."""
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class CacheFile:
    """A file of a cache: its kind, its path and its size in bytes."""

    kind: str
    path: Path
    bytes: int


def cache_home() -> Path:
    """The folder of all caches, after the XDG base directory specification; it need not exist."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).absolute()
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "edgebrain"


def private_folder(kind: str) -> Path:
    """The folder of one kind, made if it is missing.

    Raises:
        EdgebrainError: It cannot be made, or others can write to it.
    """
    folder = cache_home() / kind
    remedy = f"Remove it, or name another cache folder in {VARIABLE}."
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
    except OSError as error:
        raise EdgebrainError(f"The cache folder {folder} cannot be used: {error.strerror}.", remedy=remedy) from error
    mine = not hasattr(os, "geteuid") or facts.st_uid == os.geteuid()
    if not stat.S_ISDIR(facts.st_mode) or not mine or facts.st_mode & _OTHERS_MAY_WRITE:
        raise EdgebrainError(
            f"The cache folder {folder} is not a folder that only you can write to; nothing in it is run.",
            remedy=remedy,
        )
    return folder


def cache_files(kind: str | None = None) -> list[CacheFile]:
    """What lies in the caches, by kind and name; links and folders are left out."""
    found = []
    for one in KINDS if kind is None else (kind,):
        folder = cache_home() / one
        paths = sorted(folder.rglob("*")) if folder.is_dir() and not folder.is_symlink() else []
        found += [CacheFile(one, p, p.lstat().st_size) for p in paths if stat.S_ISREG(p.lstat().st_mode)]
    return found


def clear_cache(kind: str | None = None) -> list[CacheFile]:
    """Delete what lies in the caches.

    Returns:
        What was deleted.

    Raises:
        EdgebrainError: A file cannot be deleted.
    """
    found = cache_files(kind)
    try:
        for file in found:
            file.path.unlink(missing_ok=True)
    except OSError as error:
        raise EdgebrainError(
            f"{error.filename} cannot be deleted: {error.strerror}.", remedy="Delete it by hand."
        ) from error
    return found
