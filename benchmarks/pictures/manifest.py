"""Which of the collected pictures teach, which fix the limit and which judge: a manifest that training reads.

Kinds of pictures that judge are never trained on, so that the figure says what happens to a kind nobody thought of. A
picture that also lies in a kind that teaches, under another name, judges nothing.
Heads stay whole: all slices of one subject are in one split. Every second slice is taken, for neighbours hardly differ.
"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

JUDGING = frozenset(
    {
        "anatomy_photo",
        "artwork",
        "ct",
        "diagram_plot",
        "game_scene",
        "map",
        "microscopy",
        "mri_other_body",
        "photo_landscape",
        "photo_people",
        "retina",
        "satellite",
        "screenshot",
    }
)
"""Kinds that are only in ``test``."""

HEADS = {
    "almi5": "train",
    "colin27": "train",
    "mni152_2009": "train",
    "mni152_nlin6": "train",
    "papaya_stripped": "train",
    "brainbrowser1": "external",
    "brainbrowser2": "external",
    "flywheel_localizer": "external",
    "papaya_clinical": "external",
}
"""Split of each head that is used; the rest repeats these subjects or is an average without detail."""

STEP = 2
_VAL = 15  # per cent of the pictures of a kind that teaches


def _split_of(picture: Path) -> str:
    if picture.parent.name in JUDGING:
        return "test"
    draw = int(hashlib.sha256(f"{picture.parent.name}/{picture.name}".encode()).hexdigest(), 16) % 100
    return "val" if draw < _VAL else "train"


def _digest(picture: Path) -> bytes:
    # All were written by the same encoder: the same pixels are the same bytes.
    return hashlib.sha256(picture.read_bytes()).digest()


def write_manifest(folder: Path) -> Path:
    """Write ``pictures.csv`` beside what was collected.

    Args:
        folder: As collect_pictures.py filled it.

    Returns:
        The manifest, with the columns that ``edgebrain train --splits`` reads.
    """
    pictures = {p: _split_of(p) for p in sorted(folder.glob("pictures/*/*.png"))}
    taught = {_digest(p) for p, split in pictures.items() if split != "test"}
    rows = [
        (p.relative_to(folder).as_posix(), "not_brain_mri", p.parent.name, f"picture {p.stem}", split)
        for p, split in pictures.items()
        if split != "test" or _digest(p) not in taught
    ]
    for head, split in HEADS.items():
        slices = sorted(folder.glob(f"healthy*/{head}/*.png"))[::STEP]
        subject = head.rstrip("0123456789") if head.startswith("brainbrowser") else head
        rows += [(p.relative_to(folder).as_posix(), "no_tumor", head, f"head {subject}", split) for p in slices]
    target = folder / "pictures.csv"
    with target.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("path", "label", "source", "group", "split"))
        writer.writerows(rows)
    return target
