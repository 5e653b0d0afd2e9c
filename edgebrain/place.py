"""Where a bundle is written: checked before the long work, and replaced as a whole or not at all.

Linux can let two folders change names in one step, so that there is a whole bundle under the name at every moment,
whatever kills the export. Where the system cannot, there is a moment between two renames.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgebrain.bundle import MANIFEST, TEXTS, read_text
from edgebrain.errors import BundleError, EdgebrainError, ExportError, UsageError
from edgebrain.folders import real

_WRONG_PLACE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG})

_NEW, _OLD = "new", "old"
_HERE = -100  # AT_FDCWD of fcntl.h: paths are relative to the working folder
_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h


def check_output(output: Path) -> None:
    """Refuse a place that a bundle cannot be written to. A link stays one; what it leads to is replaced.

    Raises:
        UsageError: Something else is there, or nothing can be made there.
    """
    remedy = "Name another folder with --output."
    try:
        place = real(output)
        if output.exists() or output.is_symlink():
            if not output.is_dir():
                raise UsageError(f"{output} is not a folder.", remedy=remedy)
            if os.path.ismount(place) or Path.cwd().is_relative_to(place):
                kind = "a mount point" if os.path.ismount(place) else "the current folder, or holds it"
                raise UsageError(f"{output} is {kind}, and cannot be replaced as a whole.", remedy=remedy)
            _check_contents(output, remedy)
        parent = place.parent
        while not parent.exists():
            parent = parent.parent
    except OSError as error:
        raise UsageError(f"{output} cannot be used: {error.strerror}.", remedy=remedy) from error
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"{output} cannot be made: {parent} is not a folder that can be written to.", remedy=remedy)


def _check_contents(output: Path, remedy: str) -> None:
    """Refuse a folder with files that no bundle of ours has: it goes as a whole when the new one takes its place."""
    present = sorted(path.name for path in output.iterdir())
    if not present:
        return
    named = _named_by(output / MANIFEST)
    if named is None:
        raise UsageError(f"{output} exists and is no bundle.", remedy=remedy)
    for name in present:
        path = output / name
        if name not in named or path.is_symlink() or not path.is_file():
            raise UsageError(
                f"{output} holds {name}, which is not a file of the bundle and would be deleted with it.",
                remedy="Move it away, or name another folder with --output.",
            )


def _named_by(manifest: Path) -> set[str] | None:
    """Names of the files of a bundle of any version; None where that is no manifest."""
    try:
        tree = json.loads(read_text(manifest))
    except (BundleError, ValueError, RecursionError):
        return None
    if not isinstance(tree, dict) or type(tree.get("schema_version")) is not int:
        return None
    artifacts, heads = tree.get("artifacts"), tree.get("heads")
    if not isinstance(artifacts, list):
        return None
    single = [tree.get(key) for key in ("golden", "calibration", "head")]
    second = tree.get("second_reader")
    if isinstance(second, dict):
        single += [second.get("artifact"), second.get("golden")]
    entries = [*artifacts, *single, *(heads if isinstance(heads, list) else [])]
    return {MANIFEST, *TEXTS, *(str(entry.get("file")) for entry in entries if isinstance(entry, dict))}


@contextmanager
def replacing(output: Path) -> Iterator[Path]:
    """A new folder that takes the place of ``output`` at the end, unless something is raised.

    Raises:
        UsageError: The place is none that can be written to.
        EdgebrainError: The file system refuses for another reason, such as a full disk. What was there before is there
            again.
    """
    output = real(output)
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
        kind = UsageError if error.errno in _WRONG_PLACE else EdgebrainError  # the call's fault, or the machine's
        raise kind(
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
