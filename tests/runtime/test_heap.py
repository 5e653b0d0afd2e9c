from __future__ import annotations

import ctypes

import pytest

from edgebrain import heap


def test_giving_back_works_here_and_again() -> None:
    heap.give_back()
    heap.give_back()


def test_another_c_library_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        """A C library without malloc_trim."""

    heap._malloc_trim.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Other())
    assert heap._malloc_trim() is None
    heap.give_back()
    heap._malloc_trim.cache_clear()
