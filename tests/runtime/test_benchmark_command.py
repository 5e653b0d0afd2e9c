"""The command line of the benchmarks: what does not fit together is refused, and nothing is judged by what it saw."""

from __future__ import annotations

import importlib
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

from edgebrain.phantom import PhantomSpec, draw_phantom

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
Given = Callable[[list[str]], Namespace]
PAGE = ["--only", "steady", "--only", "readers", "--only", "rival"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("run")


@pytest.fixture
def given(run: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Given:
    """Reads a command line in a folder that has ``splits.csv``."""
    monkeypatch.chdir(tmp_path)
    Path("splits.csv").touch()

    def read(line: list[str]) -> Namespace:
        monkeypatch.setattr(sys, "argv", ["run.py", *line])
        found: Namespace = run.arguments()
        return found

    return read


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--write-docs", "--quick"], "whole pages"),
        (["--write-docs", "--scans", "9"], "whole pages"),
        (["--write-docs", "--only", "steady"], "whole pages"),
        (["--write-docs", "--data", "."], "whole pages"),
        (["--write-docs", "--data", "splits.csv", "--only", "readers"], "--only steady --only readers --only rival"),
        (["--rival", "r", "--data", "."], "needs labels"),
        (["--rival", "r", "--data", "splits.csv", "--only", "steady"], "the measure rival"),
        (["--scans", "0"], "at least 1"),
        (["--scans", "5", "--data", "splits.csv"], "whole test split"),
        (["--data", "nothing.csv"], "no file or folder nothing.csv"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    given: Given, capsys: pytest.CaptureFixture[str], line: list[str], said: str
) -> None:
    with pytest.raises(SystemExit):
        given(line)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        ["--write-docs"],
        ["--only", "steady", "--scans", "5"],
        ["--data", "splits.csv", "--rival", "r", "--write-docs", *PAGE],
    ],
)
def test_whole_pages_and_parts_that_are_not_published_are_measured(given: Given, line: list[str]) -> None:
    assert given(line).write_docs == ("--write-docs" in line)


def test_a_measure_that_fails_is_named(run: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=3))
    plan = importlib.import_module("plan").Plan(("a.png",), 1, 1, 1, 1, 1, (1,))
    with pytest.raises(SystemExit, match="measure steady ended with 3"):
        run.run_measure("steady", plan, tmp_path)


@pytest.mark.parametrize(("split", "fair"), [("test", True), ("train", False), ("val", False), (None, False)])
def test_a_rival_is_judged_by_its_test_scans_alone(
    run: ModuleType, tmp_path: Path, split: str | None, fair: bool
) -> None:
    assert run  # whose folder has the module that comes next
    pytest.importorskip("pydantic", reason="the extra 'train' brings it")
    check_unseen = importlib.import_module("rival").check_unseen
    for name in "ab":
        (tmp_path / f"{name}.png").touch()
    rows = "path,label,split\na.png,glioma,test\n" + (f"b.png,glioma,{split}\n" if split else "")
    (tmp_path / "splits.csv").write_text(rows, encoding="utf-8")
    files = (str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    with pytest.raises(SystemExit, match="There is no file"):
        check_unseen(tmp_path / "no-run", files)
    if fair:
        check_unseen(tmp_path, files)
        return
    with pytest.raises(SystemExit, match=r"b\.png was no test scan"):
        check_unseen(tmp_path, files)


def test_labels_are_compared_with_answers_on_scans_that_were_not_trained_on(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run
    agreement = importlib.import_module("label_agreement")
    for name in "abc":
        cv2.imwrite(str(tmp_path / f"{name}.png"), draw_phantom(PhantomSpec(side=64)))
    (tmp_path / "d.png").write_bytes(b"no picture")
    splits = tmp_path / "splits.csv"
    rows = ["a.png,glioma,val,", "b.png,glioma,train,", "c.png,glioma,test,a.png", "d.png,pituitary,test,"]
    splits.write_text("\n".join(["path,label,split,copy_of", *rows]), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["label_agreement.py", str(splits)])
    assert agreement.main() == 0
    _, row, unread = capsys.readouterr().out.splitlines()
    assert row.split()[:2] == ["glioma", "1"]
    assert unread.startswith("1 files could not be read")
    splits.write_text("path,label,split\nb.png,glioma,train\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="no scans in a split val or test"):
        agreement.main()
    splits.unlink()
    with pytest.raises(SystemExit, match="There is no file"):
        agreement.main()


def test_grey_files_in_colour_are_counted_by_their_tables(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run
    jpegs = importlib.import_module("grey_jpegs")
    grey = draw_phantom(PhantomSpec(side=64))
    cv2.imwrite(str(tmp_path / "a.jpg"), np.dstack([grey] * 3), [cv2.IMWRITE_JPEG_OPTIMIZE, 1])
    cv2.imwrite(str(tmp_path / "b.jpg"), np.dstack([grey] * 3))
    cv2.imwrite(str(tmp_path / "c.jpg"), grey)
    cv2.imwrite(str(tmp_path / "d.png"), grey)
    splits = tmp_path / "splits.csv"
    rows = [f"{name},glioma,test" for name in ("a.jpg", "b.jpg", "c.jpg", "d.png")]
    splits.write_text("\n".join(["path,label,split", *rows]), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["grey_jpegs.py", str(splits), "--split", "test"])
    assert jpegs.main() == 0
    first, *times = capsys.readouterr().out.splitlines()
    assert first == "4 scans, 3 JPEG, 2 of three components, 1 known to be grey"
    assert len(times) == 4
