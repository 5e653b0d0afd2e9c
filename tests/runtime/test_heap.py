from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

from edgebrain import heap


class Recorder:
    """A C library that notes what is called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def mallopt(self, *arguments: int) -> int:
        self.calls.append(("mallopt", *map(str, arguments)))
        return 1

    def malloc_trim(self, *arguments: int) -> int:
        self.calls.append(("malloc_trim", *map(str, arguments)))
        return 1


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    heap._c_library.cache_clear()
    yield
    heap._c_library.cache_clear()


def test_memory_is_given_back_as_often_as_asked() -> None:
    heap.share_one_arena()
    heap.give_back()
    heap.give_back()


def test_what_the_c_library_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Recorder()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    heap.share_one_arena()
    heap.give_back()
    assert library.calls == [("mallopt", "-8", "1"), ("malloc_trim", "0")]  # M_ARENA_MAX of malloc.h is -8


def test_another_c_library_has_nothing_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    heap.share_one_arena()
    heap.give_back()


def test_no_c_library_is_nothing_to_worry_about(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> object:
        raise OSError("no such library")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    heap.share_one_arena()
    heap.give_back()
