"""How long work will still take, judged by how long its parts took so far."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True)
class Stage:
    """A part of the work.

    Attributes:
        name: For people.
        kind: Parts of one kind take as long a unit.
        units: How much there is, at most.
    """

    name: str
    kind: str
    units: int


class Pace:
    """Adds up what is left, part by part.

    A kind that was not measured yet is taken for the mean of those that were.

    Args:
        stages: All parts, in the order in which they come.
        clock: Seconds that pass; the system's if None.
    """

    def __init__(self, stages: Sequence[Stage], clock: Callable[[], float] | None = None) -> None:
        self.stages = tuple(stages)
        self.place = -1
        self.done = 0
        self._clock = clock or time.monotonic
        self._began = 0.0
        self._first = 0
        self._spent: dict[str, tuple[float, int]] = defaultdict(lambda: (0.0, 0))

    @property
    def stage(self) -> Stage:
        """The part that is being worked on."""
        return self.stages[self.place]

    def begin(self, already: int = 0) -> Stage:
        """Start the next part, of which some units were done in an earlier run."""
        self.end()
        self.place += 1
        self._began, self._first, self.done = self._clock(), already, already
        return self.stage

    def end(self) -> None:
        """The part is over, perhaps with fewer units than it might have had."""
        if self.place >= 0:
            self._spent[self.stage.kind] = self._measured(self.stage.kind)
        self._began, self._first = self._clock(), self.done

    def left(self) -> float | None:
        """Seconds that all parts will still take, by the pace so far; None before anything was measured."""
        rates: dict[str, float] = {}
        for kind in {stage.kind for stage in self.stages}:
            seconds, units = self._measured(kind)
            if units:
                rates[kind] = seconds / units
        if not rates:
            return None
        usual = sum(rates.values()) / len(rates)
        open_ = max(0, self.stage.units - self.done) if self.place >= 0 else 0
        total = open_ * rates.get(self.stage.kind, usual)
        return total + sum(one.units * rates.get(one.kind, usual) for one in self.stages[self.place + 1 :])

    def _measured(self, kind: str) -> tuple[float, int]:
        seconds, units = self._spent[kind]
        if self.place >= 0 and self.stage.kind == kind:
            seconds, units = seconds + self._clock() - self._began, units + self.done - self._first
        return seconds, units


def left_text(seconds: float | None) -> str:
    """Seconds that are left as people say them; empty if nobody knows."""
    if seconds is None:
        return ""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s left"
    return f"{seconds / _MINUTE:.0f} min left" if seconds < 2 * _HOUR else f"{seconds / _HOUR:.1f} h left"
