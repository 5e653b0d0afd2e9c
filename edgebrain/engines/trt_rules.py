"""What is known of TensorRT's versions, without TensorRT: batches, DLA, what its failures mean. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_LAST_OLD_DLA = (10, 8)
"""The first 10.x without DLA."""
_FIRST_NEW_DLA = (11, 4, 1)
"""The first 11.x with DLA again, on AGX Orin (release notes of 11.4.1)."""
_OLDEST = (10, 3)
_WEAK_MAJOR = 10
"""The only major version that has both kinds of network: 11 always types strongly."""

_MEANINGS = (
    (
        r"not compatible with this version of TensorRT|Version tag does not match",
        "the engine was built by another version of TensorRT",
    ),
    (r"incompatible device|different models of devices", "the engine was built for another GPU"),
    (r"out of memory|OutOfMemory|insufficient memory", "the device has too little free memory"),
    (r"No matching rules|Could not infer output types", "this version of TensorRT cannot type the graph"),
)


@dataclass(frozen=True)
class Profile:
    """Batch sizes that an engine is built for: the smallest, the one it is tuned for, and the largest."""

    minimum: int
    optimum: int
    maximum: int

    @property
    def static(self) -> bool:
        """Whether there is but one size."""
        return self.minimum == self.maximum


GPU_PROFILE = Profile(1, 8, 32)
DLA_PROFILE = Profile(1, 1, 1)
"""The DLA takes no dynamic shapes."""


def version_of(text: str) -> tuple[int, ...]:
    """``10.16.2.10`` as numbers that compare; what follows them (``.post1``) is left out."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def too_old(version: str) -> bool:
    """Whether this edgebrain knows nothing of so old a TensorRT."""
    return version_of(version) < _OLDEST


def types_weakly(version: str) -> bool:
    """Whether this TensorRT can build weakly typed networks, too."""
    return version_of(version)[:1] == (_WEAK_MAJOR,)


def dla_refusal(version: str) -> str | None:
    """Why this TensorRT cannot use a DLA, or None if it can."""
    numbers = version_of(version)
    if _OLDEST <= numbers < _LAST_OLD_DLA or numbers >= _FIRST_NEW_DLA:
        return None
    named = version or "of unknown version"
    return f"TensorRT {named} has no DLA; 10.3 (JetPack 6) has it, and 11.4.1 or newer on AGX Orin"


def meaning_of(lines: Iterable[str]) -> str | None:
    """What TensorRT's messages mean, in plain words, where they are known."""
    text = "\n".join(lines)
    return next((meaning for pattern, meaning in _MEANINGS if re.search(pattern, text, re.IGNORECASE)), None)
