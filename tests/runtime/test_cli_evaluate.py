"""``edgebrain evaluate`` on drawn scans: what is checked is the bookkeeping, never the accuracy."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from edgebrain.cli.app import run
from edgebrain.phantom import PhantomSpec, draw_phantom

CLASSES = ("glioma", "meningioma_tumor", "notumor", "pituitary")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for k, name in enumerate(CLASSES):
        folder = root / "Testing" / name
        folder.mkdir(parents=True)
        for seed in range(3):
            cv2.imwrite(str(folder / f"{seed}.png"), draw_phantom(PhantomSpec(seed=10 * k + seed, side=96)))
    return root


def test_figures_count_every_scan(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(data), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["n"] == 12
    assert sum(sum(row) for row in figures["confusion"]) == 12
    assert [sum(row) for row in figures["confusion"]] == [3, 3, 3, 3]


def test_unreadable_scan_is_counted_and_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "Testing" / "glioma" / "broken.png").write_bytes(b"")
    assert run(["evaluate", str(data), "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["n_failed"] == 1
    assert "broken.png" in err


def test_report_is_written(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="plots need the extra 'report'")
    assert run(["evaluate", str(data), "--report", str(tmp_path / "report")]) == 0
    names = {p.name for p in (tmp_path / "report").iterdir()}
    assert {"report.html", "evaluation.json", "confusion.png"} <= names
    assert "Confusion matrix" in capsys.readouterr().out


def test_manifest_with_groups_splits_and_copies(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted((data / "Testing").rglob("*.png"))
    rows = [f"{p},{p.parent.name},g{i // 2},test,{paths[0] if i == 1 else ''}" for i, p in enumerate(paths)]
    manifest = tmp_path / "splits.csv"
    manifest.write_text("\n".join(["path,label,group,split,copy_of", *rows]), encoding="utf-8")
    assert run(["evaluate", str(manifest), "--split", "test", "--unique", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["n"], figures["n_groups"]) == (11, 6)


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [("empty", None, "empty"), ("nowhere", None, "nowhere"), ("bad.csv", "file,label\na.png,glioma\n", "path")],
)
def test_bad_data_is_one_error(
    name: str, content: str | None, names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content, encoding="utf-8")
    elif name == "empty":
        path.mkdir()
    assert run(["evaluate", str(path)]) == 2
    err = capsys.readouterr().err
    assert names in err
    assert "Traceback" not in err


def test_unknown_split_is_one_error(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(data), "--split", "val"]) == 2
    assert "val" in capsys.readouterr().err
