"""Where a bundle is written: checked before the long work, and replaced as a whole or not at all.

Linux can let two folders change names in one step, so that there is a whole bundle under the name at every moment,
whatever kills the export. Where the system cannot, there is a moment between two renames.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgebrain.bundle import MANIFEST
from edgebrain.errors import ExportError, UsageError

_NEW, _OLD = "new", "old"
_HERE = -100  # AT_FDCWD of fcntl.h: paths are relative to the working folder
_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h


def check_output(output: Path) -> None:
    """Refuse a place that a bundle cannot be written to.

    Raises:
        UsageError: Something else is there, or nothing can be made there.
    """
    remedy = "Name another folder with --output."
    try:
        if output.exists() or output.is_symlink():
            if not output.is_dir():
                raise UsageError(f"{output} is not a folder.", remedy=remedy)
            if not (output / MANIFEST).is_file() and any(output.iterdir()):
                raise UsageError(f"{output} exists and is no bundle.", remedy=remedy)
        parent = output.absolute().parent
        while not parent.exists():
            parent = parent.parent
    except OSError as error:
        raise UsageError(f"{output} cannot be used: {error.strerror}.", remedy=remedy) from error
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"{output} cannot be made: {parent} is not a folder that can be written to.", remedy=remedy)


@contextmanager
def replacing(output: Path) -> Iterator[Path]:
    """A new folder that takes the place of ``output`` at the end, unless something is raised.

    Raises:
        ExportError: The file system refuses; what was there before is there again.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
        try:
            (work / _NEW).mkdir(mode=0o755)
            yield work / _NEW
            _put_in_place(work, output)
        finally:
            # The earlier bundle is still in there where it could not be put back; then it is all there is of it.
            if output.exists() or not (work / _OLD).exists():
                shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise ExportError(
            f"{output} cannot be written: {error.strerror or error}.", remedy="Make room, or name another folder."
        ) from error


def _put_in_place(work: Path, output: Path) -> None:
    if not output.exists():
        (work / _NEW).replace(output)
        return
    if _exchange(work / _NEW, output):
        return  # the earlier bundle is in the working folder now, and goes with it
    output.replace(work / _OLD)
    try:
        (work / _NEW).replace(output)
    except OSError as error:
        try:
            (work / _OLD).replace(output)
        except OSError:
            raise ExportError(
                f"{output} cannot be replaced: {error.strerror}.", remedy=f"The earlier bundle is in {work / _OLD}."
            ) from error
        raise


def _exchange(first: Path, second: Path) -> bool:
    """Let two paths change names in one step (renameat2, Linux 3.15); False where that cannot be done."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return bool(rename(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE) == 0)
