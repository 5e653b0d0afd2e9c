"""Models that were trained without a source, from the report of an evaluation to the card."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgebrain.errors import UsageError
from edgebrain.evaluation.measure import Evaluation, evaluate_arrays
from edgebrain.export.left_out import LeftOut, read_left_out, section
from edgebrain.export.recalibrate_command import run_recalibrate
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
    file = report(tmp_path / "a=b.json", found)
    assert read_left_out([f"sartaj = all of it={report(tmp_path / 'r.json', found)}"]) == (
        LeftOut("sartaj = all of it", found),
    )
    with pytest.raises(UsageError, match=r"Cannot read 'b\.json'"):
        read_left_out([f"sartaj={file}"])


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
        ("sartaj=kinds.json", "does not say whether there is a tumour"),
    ],
)
def test_what_is_no_report_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.json").write_text("no JSON", encoding="utf-8")
    Path("other.json").write_text("{}", encoding="utf-8")
    report(Path("kinds.json"), evaluation(["glioma", "pituitary"], negative=None))
    with pytest.raises(UsageError, match=message):
        read_left_out([given])


def test_the_card_shows_them(tmp_path: Path, samples: list[Sample], capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "ours.csv"
    write_samples(data, samples)
    file = report(tmp_path / "r.json", evaluation(["tumor"] * 5))
    assert run_recalibrate("edge", [data], tmp_path / "out", None, None, [f"elsewhere={file}"]) == 0
    assert "| elsewhere | 5, 0 |" in (tmp_path / "out" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out
