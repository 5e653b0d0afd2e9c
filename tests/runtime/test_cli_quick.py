"""The short way into ``classify`` reads a command line as typer does, or leaves it to typer."""

from __future__ import annotations

import inspect
from enum import Enum
from typing import Any, get_args, get_type_hints

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebrain.cli import quick, run_classify
from edgebrain.cli.app import app, parse_and_run
from edgebrain.cli.run_classify import ClassifyRequest

_APP: Any = typer.main.get_command(app)
_COMMAND: Any = _APP.commands["classify"]
_OPTIONS: list[Any] = [p for p in _COMMAND.params if p.param_type_name == "option"]
_KINDS = get_type_hints(inspect.unwrap(_COMMAND.callback))
_NUMBERS = [p for p in _OPTIONS if int in (_KINDS[p.name], *get_args(_KINDS[p.name]))]


def choices(option: Any) -> list[str]:
    kinds = (_KINDS[option.name], *get_args(_KINDS[option.name]))
    return [member.value for kind in kinds if isinstance(kind, type) and issubclass(kind, Enum) for member in kind]


def limits(option: Any) -> tuple[int, int]:
    """Least and greatest number; older typers keep them in a type of click's."""
    kept = getattr(option, "type", option)
    return kept.min, kept.max


PATHS = st.sampled_from(["a.png", "-", "scans/", "*.png", "a b", "classify", "x=y", "\udcff.png", "é"])
STRANGE = st.sampled_from(
    ["", " ", "--", "-", "-r", "-x", "-fcsv", "--recur", "--help", "--output=", "-o=x", "-ro", "--x=1"]
)
NUMBERS = ["-1", "0", "1", "01", "8", "+8", " 8", "8 ", "1_0", "8.0", "٣", "1024", "1025", "65536", "9" * 30]
WORDS = ["", "-", "--", "edge", "int8", "TABLE", "Csv", "csv ", "triage", "Triage", "a=b", "=", "-r", "--resume"]
VALUES = st.sampled_from(NUMBERS + WORDS)


def names(option: Any) -> list[str]:
    return [*option.opts, *option.secondary_opts]


def fitting(option: Any) -> st.SearchStrategy[str]:
    if option in _NUMBERS:
        return st.integers(*limits(option)).map(str)
    if choices(option):
        return st.sampled_from(choices(option))
    return st.text("ab Z01./=*-é\udcff", min_size=1, max_size=6).filter(lambda text: not text.startswith("-"))


def written(option: Any, values: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    """An option in every way in which people write one with a value, or without."""
    name = st.sampled_from(names(option))
    if option.is_flag:
        return name.map(lambda n: [n])
    return st.one_of(
        st.tuples(name, values).map(list),
        st.builds(lambda n, v: [f"{n}={v}"], name.filter(lambda n: n.startswith("--")), values),
    )


PLAIN = st.lists(st.sampled_from(_OPTIONS), unique_by=lambda option: option.name).flatmap(
    lambda options: st.tuples(*(written(option, fitting(option)) for option in options))
)
ANY_WORDS = st.one_of(
    PATHS.map(lambda path: [path]),
    STRANGE.map(lambda word: [word]),
    st.sampled_from(_OPTIONS).flatmap(lambda option: written(option, fitting(option) | VALUES)),
    st.builds(
        lambda n, v: [n + v], st.sampled_from([n for option in _OPTIONS for n in names(option)]), VALUES | st.just("=x")
    ),
)


def by_typer(line: list[str]) -> ClassifyRequest | int:
    """What typer passes on, or the exit code of its complaint."""
    captured: list[ClassifyRequest] = []

    def capture(request: ClassifyRequest) -> int:
        captured.append(request)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_classify, "run_classify", capture)
        code = parse_and_run(line)
    return captured[0] if captured else code


def flat(words: list[list[str]]) -> list[str]:
    return ["classify", *(word for group in words for word in group)]


@settings(max_examples=400, deadline=None)
@given(st.lists(ANY_WORDS, max_size=6).map(flat))
def test_what_is_read_the_short_way_is_what_typer_reads(line: list[str]) -> None:
    request = quick.read(line)
    if request is not None:
        assert by_typer(line) == request


@settings(max_examples=200, deadline=None)
@given(PLAIN, st.lists(PATHS, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_a_plain_line_is_read_the_short_way_and_alike(
    options: tuple[list[str], ...], paths: list[str], order: Any
) -> None:
    words = [*options, *([path] for path in paths)]
    order.shuffle(words)
    line = flat(words)
    assert quick.read(line) is not None
    assert by_typer(line) == quick.read(line)


def test_both_know_the_same_options_by_the_same_names() -> None:
    typers = {name: option.name for option in _OPTIONS for name in names(option)}
    assert typers == quick._FLAGS | quick._VALUES
    assert set(quick._FLAGS) == {name for option in _OPTIONS if option.is_flag for name in names(option)}
    assert {option.name for option in _NUMBERS} == set(quick._LARGEST)
    assert {option.name: set(choices(option)) for option in _OPTIONS if choices(option)} == quick._CHOICES


@pytest.mark.parametrize("option", _NUMBERS, ids=lambda option: option.name)
def test_both_take_numbers_up_to_the_same_one(option: Any) -> None:
    least, greatest = limits(option)
    for number in (least, greatest):
        line = ["classify", "a.png", option.opts[0], str(number)]
        assert quick.read(line) == by_typer(line)
    for number in (least - 1, greatest + 1):
        line = ["classify", "a.png", f"{option.opts[0]}={number}"]
        assert quick.read(line) is None
    assert quick._LARGEST[option.name] == greatest


@pytest.mark.parametrize("threads", ["0", "1025", "65536", "99999999999"])
def test_threads_out_of_range_are_a_complaint(threads: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["classify", "a.png", "--threads", threads]
    assert quick.read(line) is None
    assert by_typer(line) == 2
    assert "--threads" in capsys.readouterr().err
