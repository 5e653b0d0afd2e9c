"""The files to measure on: drawn phantoms, or real scans of a folder."""

from __future__ import annotations

from pathlib import Path

SIDES = (224, 512)
"""Pixels; the sides that published sets come in most."""
SUFFIXES = (".png", ".jpg")


def draw_scans(folder: Path, count: int) -> list[str]:
    """Draw phantoms of both sides in both formats, in turn.

    Args:
        folder: Where to; it exists.
        count: How many files.

    Returns:
        Their paths.
    """
    from edgebrain.imaging import cv2
    from edgebrain.phantom import LESIONS, PhantomSpec, draw_phantom

    kinds = [(side, suffix) for side in SIDES for suffix in SUFFIXES]
    paths = []
    for index in range(count):
        side, suffix = kinds[index % len(kinds)]
        seed = index // len(kinds)
        spec = PhantomSpec(seed=seed, lesion=LESIONS[seed % len(LESIONS)], side=side, t2_like=seed % 2 == 1)
        path = folder / f"{index:05d}-{side}{suffix}"
        path.write_bytes(cv2.imencode(suffix, draw_phantom(spec))[1].tobytes())
        paths.append(str(path))
    return paths


def find_scans(folder: Path, count: int) -> list[str]:
    """Take scans of a folder and its sub-folders, evenly spread over its listing.

    Raises:
        SystemExit: The folder has none.
    """
    from edgebrain.inputs import expand

    found = [item for item in expand([str(folder)], recursive=True) if isinstance(item, str)]
    if not found:
        raise SystemExit(f"{folder} has no scans. Name another folder with --data, or leave --data out.")
    step = max(1, len(found) // count)
    return found[::step][:count]


def held_out_scans(splits: Path) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The scans of the test split that repeat no other.

    Args:
        splits: CSV, as ``edgebrain audit --splits`` and training runs write it.

    Returns:
        Their paths, labels and groups.

    Raises:
        SystemExit: It has none, or is no such list.
    """
    from edgebrain.errors import EdgebrainError
    from edgebrain.labelled import ANY_TUMOR, NOT_BRAIN_MRI, read_labelled

    try:
        samples = read_labelled(splits, split="test")
    except EdgebrainError as error:
        raise SystemExit(str(error)) from error
    found = [s for s in samples if not s.copy_of and s.label not in (ANY_TUMOR, NOT_BRAIN_MRI)]
    if not found:
        raise SystemExit(f"{splits} has no scans in a split named test.")
    paths, labels, groups = zip(*((sample.path, sample.label, sample.group) for sample in found), strict=True)
    return paths, labels, groups
