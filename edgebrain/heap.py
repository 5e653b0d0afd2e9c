"""What keeps the memory of a long run flat: one arena, and freed memory goes back to the system.

glibc gives every thread an arena of its own and keeps what is freed in it. Reader threads allocate and free decoded
images of changing sizes, so that a process grows by a dozen megabytes over ten thousand scans although nothing is held.
Threads that share one arena use each other's leftovers. They hardly wait for it: decoding and inference take
milliseconds, an allocation less than one microsecond; with separate arenas a run is slower, if anything.
"""

from __future__ import annotations

import functools
from typing import Any

SCANS_BETWEEN = 256
"""Scans of a run after which freed memory is given back. It takes about a millisecond."""

_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h


@functools.cache
def _c_library() -> Any:
    import ctypes  # only long runs need it

    try:
        return ctypes.CDLL(None)
    except OSError:
        return None


def share_one_arena() -> None:
    """Let threads that start from now on allocate from one arena, where the C library has several.

    It holds for the whole process and cannot be taken back; memory stays correct, whoever else allocates.
    """
    _call("mallopt", _ARENA_MAX, 1)


def give_back() -> None:
    """Give freed memory back to the system, where the C library can; elsewhere there is nothing to do."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    function = getattr(_c_library(), name, None)  # another C library has neither, and no such arenas
    if function is not None:
        function(*arguments)
