"""Labelled scans: class folders and CSV manifests become one list of samples.

Evaluation, training, calibration and the data audit all read their data through :func:`read_labelled`, so that a class
has one name everywhere whatever a published data set calls its folders.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgebrain.errors import UsageError
from edgebrain.folders import absolute, folders_in, scans_below
from edgebrain.labels import (
    ANY_TUMOR,
    CLASS_ALIASES,
    NO_TUMOR,
    NOT_BRAIN_MRI,
    SPLIT_ALIASES,
    canonical_label,
    fold,
    no_classes,
    unknown_class,
)
from edgebrain.outputs import write_whole

__all__ = [
    "ANY_TUMOR",
    "CLASS_ALIASES",
    "COLUMNS",
    "NOT_BRAIN_MRI",
    "NO_TUMOR",
    "SPLIT_ALIASES",
    "Sample",
    "canonical_label",
    "read_labelled",
    "write_samples",
]

COLUMNS = ("path", "label", "source", "group", "split", "copy_of", "conflict")
"""Columns of a manifest as written. ``patient`` is also read; it fills an empty ``group``."""

_NOT_LABELLED = frozenset({"pred", "br35h_mask_rcnn"})  # parts of Br35H that have no class folder of their own
_MAX_DEPTH = 4  # collection / data set / split / class
_SPLITS = tuple(dict.fromkeys(SPLIT_ALIASES.values()))
_FORMULA = ("=", "+", "-", "@")


@dataclass(frozen=True)
class Sample:
    """One labelled file.

    Attributes:
        path: The file, joined to the folder or manifest that named it.
        label: Canonical class name, a value of ``CLASS_ALIASES``.
        source: Data set it comes from; the name of its folder where nothing else says it.
        group: What must stay in one split: a patient, or images that nearly repeat each other. Empty when unknown.
        split: ``train``, ``val``, ``test``, ``external``, or empty when undecided.
        copy_of: Path of the image that this one repeats; empty when it is the one to keep.
        conflict: Whether a copy of it carries another label.
    """

    path: str
    label: str
    source: str = ""
    group: str = ""
    split: str = ""
    copy_of: str = ""
    conflict: bool = False


def read_labelled(
    path: str | Path, *, split: str | None = None, labels: Collection[str] = (), patients_apart: bool = False
) -> list[Sample]:
    """Read a labelled data set.

    A folder holds one sub-folder a class, directly or below ``Training``/``Testing`` or below several data-set folders.
    A CSV manifest has the columns ``path,label`` and optionally ``source,group,patient,split,copy_of,conflict``;
    relative paths in it are relative to its own folder.

    Args:
        path: Folder or CSV file.
        split: Keep only this split (``Training`` and the like are understood).
        labels: Further labels to accept beside ``CLASS_ALIASES``.
        patients_apart: Refuse a manifest in which one value of the column ``patient`` is in two splits.

    Returns:
        At least one sample: of a folder sorted by path, the same on every system; of a manifest in its order.

    Raises:
        UsageError: There is nothing there, a class is unknown or empty, class folders lie beside split folders, or a
            manifest's line is wrong; it names lines, never patients.
    """
    root = Path(path)
    if root.is_dir():
        samples = list(_read_folder(root, labels))
    elif root.is_file():
        samples = list(_read_manifest(root, labels, patients_apart=patients_apart))
    elif root.exists():
        raise UsageError(f"{str(path)!r} is neither a file nor a folder.", remedy="Write a list to a CSV file first.")
    else:
        raise UsageError(f"There is no file or folder {str(path)!r}.")
    if not samples:
        raise UsageError(f"{str(path)!r} lists no scans.")
    if split is None:
        return samples
    wanted = SPLIT_ALIASES.get(fold(split), split)
    kept = [sample for sample in samples if sample.split == wanted]
    if not kept:
        present = ", ".join(sorted({sample.split for sample in samples} - {""})) or "none"
        raise UsageError(f"{str(path)!r} has no split {split!r}; its splits: {present}.")
    return kept


def write_samples(path: str | Path, samples: Sequence[Sample], *, base: str | Path | None = None) -> None:
    """Write a CSV manifest that :func:`read_labelled` reads back, all of it or nothing.

    Args:
        path: The CSV file to write.
        samples: Its rows, in order.
        base: Files below this folder are written relative to the manifest, so that both can move together; all others
            are written absolute. The manifest's own folder by default.

    Raises:
        EdgebrainError: The disk is full or fails.
        UsageError: The file cannot be written.
    """
    target = Path(path)
    home = absolute(target.parent)
    below = home if base is None else absolute(base)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in samples:
        words = (_defused(one.label), _defused(one.source), _defused(one.group), one.split)
        copy_of = _portable(one.copy_of, home, below) if one.copy_of else ""
        conflict = "true" if one.conflict else "false"
        writer.writerow((_portable(one.path, home, below), *words, copy_of, conflict))
    write_whole(target, text.getvalue().encode("utf-8", "surrogateescape"))


def _read_folder(root: Path, labels: Collection[str]) -> Iterator[Sample]:
    home = absolute(root)
    own_split = SPLIT_ALIASES.get(fold(home.name), "")
    own_source = home.parent.name if own_split else home.name
    found = sorted(_class_folders(root, labels, depth=0), key=lambda item: item[0].relative_to(root).as_posix())
    if not found:
        raise no_classes(root, labels)
    grouping = _kinds_only(root, found)
    for folder, label in found:
        above = [parent for parent in reversed(folder.parents) if root in parent.parents]
        splits = [SPLIT_ALIASES[fold(parent.name)] for parent in above if fold(parent.name) in SPLIT_ALIASES]
        sets = [parent.name for parent in above if fold(parent.name) not in SPLIT_ALIASES and parent not in grouping]
        files = scans_below(folder)
        if not files:
            raise UsageError(
                f"The class folder {str(folder)!r} has no scans.",
                remedy="Put scans of that class into it, or remove the folder.",
            )
        for file in files:
            source, split = (sets or [own_source])[-1], (splits or [own_split])[-1]
            yield Sample(path=str(file), label=label, source=source, split=split)


def _kinds_only(root: Path, found: Sequence[tuple[Path, str]]) -> set[Path]:
    """Folders called ``Tumor`` that hold kinds of tumour alone: no data sets, or each class had a source of its own."""
    below: dict[Path, set[str]] = {}
    for folder, label in found:
        for parent in folder.parents:
            if root in parent.parents and canonical_label(parent.name) == ANY_TUMOR:
                below.setdefault(parent, set()).add(label)
    return {parent for parent, labels in below.items() if NO_TUMOR not in labels}


def _class_folders(folder: Path, labels: Collection[str], *, depth: int) -> Iterator[tuple[Path, str]]:
    """Find class folders; a folder that holds class folders is a data set, whatever its own name."""
    classes: list[tuple[Path, str]] = []
    others: list[Path] = []
    splits: list[Path] = []
    for child in folders_in(folder):
        below = list(_class_folders(child, labels, depth=depth + 1)) if depth < _MAX_DEPTH else []
        label = canonical_label(child.name, labels=labels)
        if below:
            yield from below
            if fold(child.name) in SPLIT_ALIASES:
                splits.append(child)
        elif label is not None:
            classes.append((child, label))
        elif fold(child.name) not in _NOT_LABELLED:
            others.append(child)
    if classes and splits:
        raise UsageError(
            f"{str(folder)!r} mixes two layouts: the class folder {classes[0][0].name!r} lies beside the split folder "
            f"{splits[0].name!r}.",
            remedy="Move the class folders into a split folder, or elsewhere.",
        )
    for other in others if classes else ():
        if scans_below(other):
            raise unknown_class(other.name, str(folder), labels)
    yield from classes


def _read_manifest(manifest: Path, labels: Collection[str], *, patients_apart: bool) -> Iterator[Sample]:
    name = str(manifest)
    seen: dict[str, tuple[str, int]] = {}
    try:
        with manifest.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [column.strip().lower() for column in reader.fieldnames or ()]
            missing = [column for column in ("path", "label") if column not in columns]
            if missing:
                raise UsageError(
                    f"{name!r} has no column {' and no column '.join(missing)}.",
                    remedy="Its first line must name the columns; path and label are required.",
                )
            if twice := [column for column in columns if columns.count(column) > 1]:
                raise UsageError(f"{name!r} has the column {twice[0]!r} twice.", remedy="Remove or rename one of them.")
            reader.fieldnames = columns
            for row in reader:
                if None in row or None in row.values():
                    raise _bad_line(manifest, reader.line_num, f"it does not have {len(columns)} cells")
                sample = _sample(row, manifest, reader.line_num, labels)
                if patients_apart and sample.split:
                    _keep_apart(row.get("patient", "").strip(), sample.split, reader.line_num, seen, manifest)
                yield sample
    except csv.Error as error:
        raise UsageError(f"{name!r} is no CSV file: {error}.") from error
    except OSError as error:
        raise UsageError(f"Cannot read {name!r}: {error.strerror or error}.") from error


def _sample(row: Mapping[str, str], manifest: Path, line: int, labels: Collection[str]) -> Sample:
    cells = {column: _armed(cell.strip()) for column, cell in row.items()}
    if not cells["path"]:
        raise _bad_line(manifest, line, "its path is empty")
    path = manifest.parent / cells["path"]
    try:
        there = path.is_file()
    except OSError as error:  # a name that no file can have
        raise _bad_line(manifest, line, f"{cells['path']!r} cannot be a file ({error.strerror or error})") from error
    if not there:
        raise _bad_line(manifest, line, f"there is no file {str(path)!r}")
    label = canonical_label(cells["label"], labels=labels)
    if label is None:
        raise unknown_class(cells["label"], f"{manifest}, line {line}", labels)
    split = cells.get("split", "")
    if split and fold(split) not in SPLIT_ALIASES:
        raise _bad_line(manifest, line, f"{split!r} is no split ({', '.join(_SPLITS)})")
    conflict = cells.get("conflict", "").lower()
    if conflict not in {"", "true", "false", "1", "0"}:
        raise _bad_line(manifest, line, f"conflict is {conflict!r}, not true or false")
    copy_of = cells.get("copy_of", "")
    return Sample(
        path=str(path),
        label=label,
        source=cells.get("source", ""),
        group=cells.get("group", "") or cells.get("patient", ""),
        split=SPLIT_ALIASES[fold(split)] if split else "",
        copy_of=str(manifest.parent / copy_of) if copy_of else "",
        conflict=conflict in {"true", "1"},
    )


def _keep_apart(patient: str, split: str, line: int, seen: dict[str, tuple[str, int]], manifest: Path) -> None:
    if not patient:
        return
    other, first = seen.setdefault(patient, (split, line))
    if other != split:
        raise UsageError(
            f"{str(manifest)!r}, lines {first} and {line}: one patient is in the splits {other} and {split}.",
            remedy="Keep each patient in one split; or leave the column 'split' out and give the manifest with --data.",
        )


def _bad_line(manifest: Path, line: int, what: str) -> UsageError:
    return UsageError(f"{str(manifest)!r}, line {line}: {what}.")


def _portable(path: str, home: Path, below: Path) -> str:
    full = absolute(path)
    if not full.is_relative_to(below):
        return str(full)
    relative = Path(os.path.relpath(full, home)).as_posix()
    return f"./{relative}" if relative.startswith((*_FORMULA, "'")) else relative


def _defused(cell: str) -> str:
    """Keep a spreadsheet from running a cell as a formula; undone when read."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _armed(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell
