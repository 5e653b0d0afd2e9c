"""Estimates of the time that is left, on a clock that is moved by hand."""

from __future__ import annotations

import pytest

from edgebrain.train.meta_progress import Watch
from edgebrain.train.pace import Pace, Stage, left_text


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


STAGES = (Stage("first", "train", 100), Stage("second", "judge", 10), Stage("third", "train", 50))


def test_nobody_knows_before_anything_is_measured() -> None:
    pace = Pace(STAGES, Clock())
    assert pace.left() is None
    pace.begin()
    assert pace.left() is None
    assert left_text(None) == ""


def test_parts_of_one_kind_take_as_long_a_unit_and_others_as_long_as_is_usual() -> None:
    clock = Clock()
    pace = Pace(STAGES, clock)
    pace.begin()
    clock.now, pace.done = 20.0, 10
    assert pace.left() == pytest.approx(2.0 * (90 + 10 + 50))
    clock.now, pace.done = 60.0, 30  # and it stops early
    pace.begin()
    clock.now, pace.done = 65.0, 5
    assert pace.left() == pytest.approx(1.0 * 5 + 2.0 * 50)
    pace.begin()
    assert pace.left() == pytest.approx(2.0 * 50)
    clock.now, pace.done = 165.0, 50
    assert pace.left() == 0


def test_what_an_earlier_run_did_takes_no_time_and_counts_for_no_speed() -> None:
    clock = Clock()
    pace = Pace(STAGES[:1], clock)
    pace.begin(already=80)
    assert pace.left() is None
    clock.now, pace.done = 10.0, 90
    assert pace.left() == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s left"), (119, "119 s left"), (600, "10 min left"), (9000, "2.5 h left")]
)
def test_time_is_said_as_people_say_it(seconds: float, text: str) -> None:
    assert left_text(seconds) == text


def test_work_without_checks_says_where_it_is_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr("edgebrain.train.meta_progress.time.monotonic", clock)
    with Watch(100, "judging") as watch:
        for _ in range(50):
            clock.now += 1.0
            watch.step()
    assert capsys.readouterr().err == "judging: 30/100  about 70 s left\n"
