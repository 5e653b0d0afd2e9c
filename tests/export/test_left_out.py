"""Models that were trained without a source, from the report of an evaluation to the card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgebrain.cli.app import run
from edgebrain.errors import UsageError
from edgebrain.evaluation.measure import Evaluation, evaluate_arrays
from edgebrain.export.left_out import LeftOut, read_left_out, section
from edgebrain.intervals import Estimate
from edgebrain.labelled import Sample, write_samples

LABELS = ("glioma", "no_tumor", "pituitary")


def evaluation(truth: list[str], negative: str | None = "no_tumor") -> Evaluation:
    """Of a model that is always sure of glioma."""
    probabilities = np.tile([0.9, 0.06, 0.04], (len(truth), 1))
    return evaluate_arrays(LABELS, negative, truth, probabilities, ["prioritise"] * len(truth), None)


def report(path: Path, found: Evaluation) -> Path:
    path.write_bytes(msgspec.json.encode(found))
    return path


def test_a_report_comes_back_as_it_was_measured(tmp_path: Path) -> None:
    found = evaluation(["glioma", "pituitary", "no_tumor"])
    file = report(tmp_path / "lr=0.1.json", found)
    assert read_left_out([f" sartaj,\n all of it={file}"]) == (LeftOut("sartaj, all of it", found),)


def test_the_row_says_what_can_be_known() -> None:
    text = section(
        [
            LeftOut("one | source", evaluation(["glioma", "pituitary", "no_tumor", "no_tumor"])),
            LeftOut("tumours alone", evaluation(["tumor", "tumor"])),
        ]
    )
    first, second = text.splitlines()[-2:]
    assert first.startswith("| one / source | 2, 2 | 25.00% [")
    assert "| 100.00% [" in first
    assert "| 0.00% [" in first
    assert second.startswith("| tumours alone | 2, 0 | - | 100.00% [")
    assert second.endswith("| - |")
    assert section([]) == ""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("sartaj", "is not NAME=REPORT.json"),
        ("=r.json", "is not NAME=REPORT.json"),
        ("sartaj=", "is not NAME=REPORT.json"),
        ("sartaj=absent.json", "Cannot read 'absent.json'"),
        ("sartaj=text.json", "is no report of an evaluation"),
        ("sartaj=other.json", "is no report of an evaluation"),
        ("sartaj=bytes.json", "is no report of an evaluation"),
        ("sartaj=deep.json", "is no report of an evaluation"),
        ("sartaj=later.json", "has version 99 of the record"),
        ("sartaj=less.json", "has -5 tumours"),
        ("sartaj=more.json", "not between 0 and 1"),
        ("\udcff=good.json", "no text that can be printed"),
        ("sartaj=kinds.json", "does not say whether there is a tumour"),
    ],
)
def test_what_is_no_report_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.json").write_text("no JSON", encoding="utf-8")
    Path("other.json").write_text("{}", encoding="utf-8")
    Path("bytes.json").write_bytes(b'{"mode":"\xff"}')
    Path("deep.json").write_text('{"foo":' + "[" * 100_000, encoding="utf-8")
    good = evaluation(["glioma", "no_tumor"])
    assert good.tumor is not None
    report(Path("good.json"), good)
    report(Path("kinds.json"), evaluation(["glioma", "pituitary"], negative=None))
    report(Path("later.json"), replace(good, schema=99))
    report(Path("less.json"), replace(good, tumor=replace(good.tumor, tumors=-5)))
    report(Path("more.json"), replace(good, accuracy=Estimate(17.0)))
    with pytest.raises(UsageError, match=message):
        read_left_out([given])


def test_a_source_is_named_once(tmp_path: Path) -> None:
    file = report(tmp_path / "r.json", evaluation(["tumor"]))
    with pytest.raises(UsageError, match="'sartaj' twice"):
        read_left_out([f"sartaj={file}", f"sartaj ={file}"])


def test_the_card_shows_them(tmp_path: Path, samples: list[Sample], capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "ours.csv"
    write_samples(data, samples)
    file = report(tmp_path / "r.json", evaluation(["tumor"] * 5))
    given = ["--splits", str(data), "-o", str(tmp_path / "out"), "--left-out", f"elsewhere={file}"]
    assert run(["recalibrate", "edge", *given]) == 0
    assert "| elsewhere | 5, 0 |" in (tmp_path / "out" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out
