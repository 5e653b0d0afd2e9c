"""Changes that a scan may go through before it arrives: named, described, and each held to a limit.

Every change maps a 2-D array to a 2-D array and is applied to the scan as read, before any preprocessing. What is
random in one (noise, bias field, text, marks) is drawn from a seed made of the scan's identity and the name of the
change, so that the same scan gets the same change in every run and on every machine.

Grey levels: uint8 stays uint8 over 0..255, rounded and clipped. Anything else is changed in float64 on the scan's own
range, the two robust percentiles that preprocessing maps to black and white, and stays in the scan's own units: not
rounded to integers again, because the result must not depend on the slope of the pixel values. What averages pixels
(blur, resizing, turning by an angle) gives float64, too. CLAHE and JPEG are exceptions: they work on 8 bits, as viewers
do, and give uint8. Borders, text, marks, mirrors, quarter turns and crops keep any dtype. Pixels without contrast or
with NaN have no range: a change of grey levels leaves them as they are, and preprocessing refuses them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgebrain.errors import UsageError
from edgebrain.stress import geometry, greys, marks
from edgebrain.types import AnyPixels

Change = Callable[[AnyPixels, np.random.Generator], AnyPixels]

CLEAN = "clean"


@dataclass(frozen=True)
class Stress:
    """One change.

    Attributes:
        name: What it is called in records.
        description: What is done, in a sentence for people.
        limit: Points of accuracy (percent of scans) that it may cost; None where nothing is asked.
        change: Maps pixels [H, W] and a generator to pixels [h, w].
    """

    name: str
    description: str
    limit: float | None
    change: Change


def apply(stress: Stress, pixels: AnyPixels, identity: str) -> AnyPixels:
    """Change a scan.

    Args:
        stress: What is done.
        pixels: [H, W], any integer or float dtype; never written to.
        identity: What the scan is known by, a hash of its file for instance; with the name of the stress it seeds
            what is random.

    Returns:
        [h, w], each side at least 1. uint8 where the input is; see the module's text for other dtypes.
    """
    seed = hashlib.blake2b(f"{stress.name}\0{identity}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return stress.change(pixels, np.random.default_rng(int.from_bytes(seed, "little")))


def find_stress(name: str) -> Stress:
    """The stress of a name.

    Raises:
        UsageError: There is none.
    """
    for stress in STRESSES:
        if stress.name == name:
            return stress
    raise UsageError(f"There is no stress {name!r}.", remedy=f"Known: {', '.join(s.name for s in STRESSES)}.")


def _same(pixels: AnyPixels, _: np.random.Generator) -> AnyPixels:
    return pixels


LIMIT = 2.0
"""Points of accuracy that a stress may cost unless its row says something else."""


def _row(name: str, description: str, change: Change, limit: float | None = LIMIT) -> Stress:
    return Stress(name, description, limit, change)


STRESSES: tuple[Stress, ...] = (
    _row(CLEAN, "The scan as it is.", _same, None),
    *(
        _row(f"clahe_{c}", f"Local contrast equalised (CLAHE, clip limit {c}).", partial(greys.clahe, clip=c))
        for c in (2, 4, 8)
    ),
    *(
        _row(f"gamma_{g}", f"Grey levels raised to the power {g}.", partial(greys.gamma, exponent=g))
        for g in (0.5, 0.7, 1.5, 2.2)
    ),
    _row("inverted", "Black and white exchanged.", greys.inverted, 5.0),
    *(
        _row(
            f"blurred_{s}",
            f"Gaussian blur, sigma {s} px at {geometry.BLUR_SIDE} px.",
            partial(geometry.blurred, sigma=s),
        )
        for s in (1, 2)
    ),
    *(_row(f"noisy_{p}", f"Gaussian noise, {p} % of the range.", partial(greys.noisy, share=p / 100)) for p in (5, 10)),
    _row("bias_field", "Multiplied by a smooth field from 0.5 to 1.5.", greys.bias_field),
    _row("resolution_160", "Down to 160 px and back up.", partial(geometry.low_resolution, side=160)),
    _row("resolution_128", "Down to 128 px and back up.", partial(geometry.low_resolution, side=128), 1.0),
    _row("resolution_96", "Down to 96 px and back up.", partial(geometry.low_resolution, side=96)),
    *(_row(f"squeezed_{r}", f"Width times {r}.", partial(geometry.squeezed, ratio=r)) for r in (0.75, 1.33)),
    _row("jpeg_20", "Saved as JPEG of quality 20.", partial(greys.jpeg, quality=20)),
    _row(
        "padded_black",
        "Black border, 20 % of the side on every side.",
        partial(geometry.bordered, share=0.2, level=0.0),
    ),
    _row(
        "padded_white",
        "White border, 10 % of the side on every side.",
        partial(geometry.bordered, share=0.1, level=1.0),
    ),
    _row("framed_grey", "Grey frame, 4 % of the side wide.", partial(geometry.bordered, share=0.04, level=0.5)),
    _row("text", "White text burned into the corners.", marks.text),
    _row("annotated", "An arrow, a box and a measured line drawn across the head.", marks.annotated),
    _row("ghosted", "Two fainter copies (22 %), a third of the height away.", partial(greys.ghosted, share=0.18)),
    _row("flipped_left_right", "Mirrored left to right.", partial(geometry.flipped, axis=1)),
    _row("flipped_upside_down", "Mirrored top to bottom.", partial(geometry.flipped, axis=0)),
    *(
        _row(f"rotated_{90 * q}", f"Rotated by {90 * q} degrees.", partial(geometry.rotated, quarters=q))
        for q in (1, 2, 3)
    ),
    _row("tilted_30", "Turned by 30 degrees.", partial(geometry.tilted, degrees=30)),
    _row("cropped_0", "Cropped to the head.", partial(geometry.cropped, inside=0.0)),
    _row("cropped_5", "Cropped to 5 % inside the head on every side.", partial(geometry.cropped, inside=0.05)),
    _row("cropped_10", "Cropped to 10 % inside the head on every side.", partial(geometry.cropped, inside=0.1)),
    *(
        _row(
            f"stripped_{p}",
            f"Scalp and skull peeled off, {p} % of the head's size.",
            partial(geometry.skull_stripped, share=p / 100),
        )
        for p in (6, 9)
    ),
)
"""Every stress, the clean scan first."""
