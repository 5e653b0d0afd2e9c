"""How much of the head each preprocessing version keeps when a scan changes: as decision 0012 has it.

python benchmarks/head_crop.py splits.csv
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from edgebrain.head import Box, find_head
from edgebrain.labelled import read_labelled
from edgebrain.readers import read_middle
from edgebrain.types import PREPROCESSING_VERSIONS, Image8

SCANS = 350
POOR = 0.8
"""Overlap below which a crop counts as wrong."""


def _gamma(image: Image8, exponent: float) -> Image8:
    return np.asarray(255 * (image / 255.0) ** exponent + 0.5, np.uint8)


def _noise(image: Image8, share: float) -> Image8:
    grain = np.random.default_rng(image.size).normal(0, 255 * share, image.shape)
    return np.asarray(np.clip(image + grain, 0, 255), np.uint8)


CHANGES: dict[str, Callable[[Image8], Image8]] = {
    "none": lambda image: image,
    "gamma 2.2": lambda image: _gamma(image, 2.2),
    "gamma 1.5": lambda image: _gamma(image, 1.5),
    "gamma 0.5": lambda image: _gamma(image, 0.5),
    "noise, 10 %": lambda image: _noise(image, 0.1),
    "local contrast, clip 8": lambda image: np.asarray(cv2.createCLAHE(8, (8, 8)).apply(image), np.uint8),
}


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    rows = max(0, min(one.bottom, other.bottom) - max(one.top, other.top))
    columns = max(0, min(one.right, other.right) - max(one.left, other.left))
    areas = [(box.bottom - box.top) * (box.right - box.left) for box in (one, other)]
    return rows * columns / (sum(areas) - rows * columns)


def scans_of(manifest: Path) -> list[Image8]:
    """Unique scans that judge nothing, evenly spaced, as far as they are uint8."""
    samples = [s for s in read_labelled(manifest) if s.split in ("train", "val") and not s.copy_of]
    chosen = samples[:: max(1, len(samples) // SCANS)]
    pixels = [read_middle(sample.path).pixels for sample in chosen]
    return [np.asarray(image, np.uint8) for image in pixels if image.dtype == np.uint8]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="labelled folder, or splits as edgebrain audit writes them")
    images = scans_of(parser.parse_args().data)
    unchanged = [find_head(image, PREPROCESSING_VERSIONS[0]).box for image in images]
    print(
        f"{len(images)} scans\n\n| change | "
        + " | ".join(f"version {v} | below {POOR}" for v in PREPROCESSING_VERSIONS)
        + " |\n"
        + "|---" * (1 + 2 * len(PREPROCESSING_VERSIONS))
        + "|"
    )
    for name, change in CHANGES.items():
        cells = []
        for version in PREPROCESSING_VERSIONS:
            found = [
                overlap(box, find_head(change(image), version).box)
                for image, box in zip(images, unchanged, strict=True)
            ]
            cells.append(f"{np.mean(found):.3f} | {np.mean([f < POOR for f in found]):.1%}")
        print(f"| {name} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
