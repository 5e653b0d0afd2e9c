"""``edgebrain classify --resume``: what it skips, what it does again and what it refuses."""

from __future__ import annotations

import functools
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from edgebrain import inputs
from edgebrain.cli.app import run
from edgebrain.phantom import SAMPLES, PhantomSpec, draw_phantom, sample_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Classify = Callable[..., tuple[int, list[dict[str, Any]]]]
    MakeBytes = Callable[..., bytes]
    RowsOf = Callable[[Path], list[dict[str, Any]]]


def test_resume_refuses_another_model_file(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], classify: Classify
) -> None:
    output = tmp_path / "out.jsonl"
    classify(scans, output, "--precision", "int8")
    before = output.read_bytes()
    code, _ = classify(scans, output, "--precision", "fp32", "--resume")
    assert code == 2
    assert output.read_bytes() == before
    assert "int8" in capsys.readouterr().err


def test_resume_goes_on_inside_a_multi_page_file(tmp_path: Path, tiff_bytes: MakeBytes, classify: Classify) -> None:
    pages = [draw_phantom(PhantomSpec(seed=s, side=64)) for s in range(5)]
    (tmp_path / "pages.tif").write_bytes(tiff_bytes(*pages))
    output = tmp_path / "out.jsonl"
    _, rows = classify(tmp_path / "pages.tif", output)
    assert [row["frame"] for row in rows] == list(range(5))
    output.write_bytes(b"".join(output.read_bytes().splitlines(keepends=True)[:2]))
    code, rows = classify(tmp_path / "pages.tif", output, "--resume")
    assert code == 0
    assert [row["frame"] for row in rows] == list(range(5))


def test_same_file_twice_survives_a_resume_between_the_two(scans: Path, tmp_path: Path, rows_of: RowsOf) -> None:
    path = str(scans / sample_name(SAMPLES[0]))
    output = tmp_path / "out.jsonl"
    arguments = ["classify", path, path, "-f", "jsonl", "-o", str(output)]
    assert run(arguments) == 0
    output.write_bytes(output.read_bytes().splitlines(keepends=True)[0])
    assert run([*arguments, "--resume"]) == 0
    assert [row["path"] for row in rows_of(output)] == [path, path]


def watch_with(monkeypatch: pytest.MonkeyPatch, *changes: Callable[[], object]) -> None:
    """Watch without waiting: after each look comes one change, and Ctrl-C after the last."""
    left = list(changes)

    def sleep(_: float) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop(0)()

    monkeypatch.setattr(inputs, "watch", functools.partial(inputs.watch, sleep=sleep))


@pytest.mark.parametrize("output_format", ["jsonl", "csv"])
def test_watch_resumed_skips_what_is_done_but_nothing_that_comes(
    scans: Path, tmp_path: Path, output_format: str
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    originals = sorted(scans.iterdir())
    for name in ("kept.png", "last.png", "reused.png", "rewritten.png"):
        shutil.copyfile(originals[0], inbox / name)
    output = tmp_path / "out"
    arguments = ["classify", "--watch", str(inbox), "-f", output_format, "-o", str(output), "--resume"]

    def nothing() -> None:
        pass

    def lines() -> list[bytes]:
        return [line for line in output.read_bytes().splitlines() if b"inbox" in line]

    with pytest.MonkeyPatch.context() as patch:
        watch_with(patch, nothing)
        assert run(arguments) == 130
    assert len(lines()) == 4
    with pytest.MonkeyPatch.context() as patch:
        reuse: list[Callable[[], object]] = [
            (inbox / "reused.png").unlink,
            lambda: shutil.copyfile(originals[1], inbox / "reused.png"),
        ]
        rewrite = [lambda: shutil.copyfile(originals[2], inbox / "rewritten.png")]
        arrive = [lambda: shutil.copyfile(originals[1], inbox / "new.png")]
        watch_with(patch, *(nothing, *reuse, nothing, *rewrite, nothing, *arrive, nothing))
        assert run(arguments) == 130
    names = ["reused.png", "rewritten.png", "new.png"]
    assert len(lines()) == 4 + len(names)
    assert all(name.encode() in line for name, line in zip(names, lines()[4:], strict=True))
