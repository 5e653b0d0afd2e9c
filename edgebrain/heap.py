"""Freed memory goes back to the system during long runs.

glibc gives every thread an arena of its own and keeps what is freed in it. Reader threads allocate and free decoded
images of changing sizes, so that a process grows by a dozen megabytes over ten thousand scans although nothing is held.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

SCANS_BETWEEN = 64
"""Scans of a run after which freed memory is given back. It takes about a millisecond."""


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    import ctypes  # only long runs need it

    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None  # another C library, which has no such arenas
    return trim


def give_back() -> None:
    """Give freed memory back to the system, where the C library can; elsewhere there is nothing to do."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)
