from __future__ import annotations

import base64
import importlib.util
import io
import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console

from edgebrain.errors import MissingExtra, UsageError
from edgebrain.evaluation.measure import Evaluation, evaluate_arrays, without_scans
from edgebrain.evaluation.outliers import Seen, outlier_figures
from edgebrain.report.tables import Grid, grids, percent, score
from edgebrain.report.write import print_summary, shade_colors, write_report
from edgebrain.types import Triage

if TYPE_CHECKING:
    from pathlib import Path

needs_matplotlib = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs the extra `report`")

LABELS = ("glioma", "meningioma", "no_tumor", "pituitary")
FILES = {"report.html", "evaluation.json", "confusion.png", "roc.png", "reliability.png", "risk_coverage.png"}
PNG = b"\x89PNG\r\n\x1a\n"


def evaluate(labels: tuple[str, ...] = LABELS, *, truth: str | None = None, spread: float = 3.0) -> Evaluation:
    rng = np.random.default_rng(0)
    own = rng.integers(0, len(labels), 60)
    logits = rng.normal(0, 1, (60, len(labels)))
    logits[np.arange(60), own] += spread
    chances = np.exp(logits)
    chances /= chances.sum(axis=1, keepdims=True)
    names = [labels[k] for k in own] if truth is None else [truth] * 60
    triage = list(rng.choice(("prioritise", "standard", "cannot_assess"), 60))
    groups = [str(i // 2) for i in range(60)]
    return evaluate_arrays(
        labels, labels[2], names, chances, triage, groups, failed=1, resamples=50, latency_ms={"infer": [1.0, 3.0]}
    )


def printed(evaluation: Evaluation, width: int = 80) -> str:
    stream = io.StringIO()
    print_summary(evaluation, Console(file=stream, width=width))
    return stream.getvalue()


class Page(HTMLParser):
    """What a browser would see: text, tags left open, and whatever it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = ""
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in {"meta", "img"}:
            self.open.append(tag)
        self.loads += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_summary_shows_every_table_within_80_columns() -> None:
    text = printed(evaluate())
    for title in ("Headline figures", "Confusion matrix", "Each label against the rest", "Triage", "Time per scan"):
        assert title in text
    assert "60 labelled scans in 30 groups; 1 more got no answer" in " ".join(text.split())
    assert "not a medical device" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text


def test_summary_has_the_figures_of_the_evaluation() -> None:
    evaluation = evaluate()
    text = " ".join(printed(evaluation).split())
    assert f"Accuracy {percent(evaluation.accuracy.value)} " in text
    assert f"Macro F1 {score(evaluation.macro_f1.value)} " in text
    assert f"glioma {' '.join(str(count) for count in evaluation.confusion[0])} " in text


def test_render_is_what_is_printed() -> None:
    evaluation, stream = evaluate(), io.StringIO()
    console = Console(file=stream, width=80)
    for part in evaluation.render():
        console.print(part)
    assert stream.getvalue() == printed(evaluation)


def test_labels_are_neither_markup_nor_escapes() -> None:
    text = printed(evaluate(("[red]a[/red]", "b\x1b[31m", "no_tumor", ":smile:")), 200)
    assert "[red]a[/red]" in text
    assert "\x1b" not in text
    assert r"b\x1b[31m" in text
    assert ":smile:" in text


def test_undefined_figures_are_shown_as_such() -> None:
    text = " ".join(printed(evaluate(truth="glioma")).split())
    assert "Mean AUROC n/a n/a" in text
    assert "No scan is meningioma or no_tumor or pituitary" in text


@pytest.mark.parametrize(
    ("value", "share", "number"),
    [
        (None, "n/a", "n/a"),
        (0.0, "0.0 %", "0.000"),
        (1e-6, "<0.1 %", "<0.001"),
        (0.5, "50.0 %", "0.500"),
        (0.999999, ">99.9 %", ">0.999"),
        (1.0, "100.0 %", "1.000"),
    ],
)
def test_only_perfect_figures_look_perfect(value: float | None, share: str, number: str) -> None:
    assert (percent(value), score(value)) == (share, number)


def test_shaded_text_can_be_read() -> None:
    def luminance(color: str) -> float:
        channels = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for shade in np.linspace(0, 1, 101):
        light, dark = sorted((luminance(color) for color in shade_colors(float(shade))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3.9, shade


@needs_matplotlib
def test_report_has_all_files_and_nothing_else(tmp_path: Path) -> None:
    evaluation, folder = evaluate(), tmp_path / "new" / "report"
    assert write_report(evaluation, folder, title="Edge", command="edgebrain evaluate scans") == folder / "report.html"
    assert {path.name for path in folder.iterdir()} == FILES
    assert json.loads((folder / "evaluation.json").read_text()) == evaluation.to_dict()
    for path in folder.glob("*.png"):
        assert path.read_bytes().startswith(PNG)


@needs_matplotlib
def test_page_is_whole_and_loads_nothing(tmp_path: Path) -> None:
    evaluation = evaluate()
    path = write_report(evaluation, tmp_path, title="Edge 1.0", command="edgebrain evaluate scans --report out")
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    head = "data:image/png;base64,"
    assert all(source.startswith(head) for source in page.loads)
    embedded = {base64.b64decode(source.removeprefix(head)) for source in page.loads}
    assert embedded == {path.read_bytes() for path in tmp_path.glob("*.png")}
    for text in ("Edge 1.0", "not a medical device", "edgebrain evaluate scans --report out", "60 labelled scans"):
        assert text in page.text
    for grid in grids(evaluation):
        assert grid.title in page.text
        assert all(cell.text in page.text for row in grid.rows for cell in row)


@needs_matplotlib
def test_page_escapes_every_text(tmp_path: Path) -> None:
    evil = '<script>"&\udc80'
    labels = ("<b>a", "$x^", "_no_tumor", evil)
    path = write_report(evaluate(labels), tmp_path, title=f"t {evil}", command=f"c {evil}")
    page = Page(path.read_text(encoding="utf-8"))
    assert not {"script", "b"} & set(page.tags)
    for shown in ('t <script>"&\\udc80', 'c <script>"&\\udc80', "<b>a", "$x^"):
        assert shown in page.text


@needs_matplotlib
@pytest.mark.parametrize("truth", ["glioma", "no", "yes", "no_tumor"])
def test_report_of_one_sided_truth(tmp_path: Path, truth: str) -> None:
    write_report(evaluate(truth=truth), tmp_path, title="t", command="c")
    assert {path.name for path in tmp_path.iterdir()} == FILES


@needs_matplotlib
def test_reports_of_a_perfect_model_and_of_one_scan(tmp_path: Path) -> None:
    perfect = evaluate(spread=60)
    assert perfect.accuracy.value == 1
    write_report(perfect, tmp_path / "perfect", title="t", command="c")
    single = evaluate_arrays(("a", "b"), None, ["a"], np.array([[1.0, 0.0]]), ["standard"], None, resamples=5)
    write_report(single, tmp_path / "single", title="t", command="c")
    assert {path.name for path in (tmp_path / "single").iterdir()} == FILES


@needs_matplotlib
def test_same_evaluation_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report(evaluate(), tmp_path / name, title="t", command="c")
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@needs_matplotlib
def test_a_report_replaces_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "roc.png").write_bytes(b"old")
    write_report(evaluate(), tmp_path, title="t", command="c")
    assert (tmp_path / "roc.png").read_bytes().startswith(PNG)


@needs_matplotlib
def test_a_folder_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(UsageError, match=r"cannot be written to .*file") as caught:
        write_report(evaluate(), blocker, title="t", command="c")
    assert isinstance(caught.value.__cause__, OSError)


@needs_matplotlib
def test_a_failed_write_leaves_no_partial_file(tmp_path: Path) -> None:
    (tmp_path / "roc.png").mkdir()
    with pytest.raises(UsageError):
        write_report(evaluate(), tmp_path, title="t", command="c")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert not (tmp_path / "report.html").exists()


def test_without_matplotlib_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"edgebrain\[report\]"):
        write_report(evaluate(), tmp_path / "out", title="t", command="c")
    assert not (tmp_path / "out").exists()


@needs_matplotlib
def test_global_settings_of_matplotlib_are_left_alone(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    write_report(evaluate(), tmp_path, title="t", command="c")
    assert dict(mpl.rcParams) == before


def test_importing_loads_neither_matplotlib_nor_rich() -> None:
    code = (
        "import sys, edgebrain.evaluation.measure, edgebrain.report.write\n"
        "print([name for name in ('matplotlib', 'rich', 'cv2', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def with_pictures(evaluation: Evaluation, *, scores: bool = True, limit: float | None = 0.5) -> Evaluation:
    rng = np.random.default_rng(1)
    seen = [
        Seen(picture, "<i>cats</i>", Triage.CANNOT_ASSESS if rng.random() < 0.7 else Triage.STANDARD, score)
        for picture in (False, True)
        for score in (rng.beta(2, 5 if not picture else 1, 40).tolist() if scores else [None] * 40)
    ]
    kept = seen if evaluation.n else seen[40:]
    return replace(evaluation, outliers=outlier_figures(kept, limit, resamples=20))


def test_pictures_are_summed_up() -> None:
    evaluation = with_pictures(evaluate())
    assert evaluation.outliers is not None
    text = " ".join(printed(evaluation).split())
    assert "; 40 pictures that are no brain MRI; 1 more got no answer" in text
    assert f"Pictures not refused {percent(evaluation.outliers.accepted.value)} " in text
    assert f"Scans refused {percent(evaluation.outliers.refused_as_outlier.value)} " in text
    assert f"Outlier AUROC {score(evaluation.outliers.auroc.value)} " in text
    assert "no limit" not in text
    assert "no limit for an outlier score" in " ".join(printed(with_pictures(evaluate(), limit=None)).split())


@needs_matplotlib
@pytest.mark.parametrize("limit", [0.5, None])
def test_report_with_pictures_has_their_plot(tmp_path: Path, limit: float | None) -> None:
    evaluation = with_pictures(evaluate(), limit=limit)
    path = write_report(evaluation, tmp_path, title="t", command="c")
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, "outliers.png"}
    page = Page(path.read_text(encoding="utf-8"))
    assert "Not refused: <i>cats</i>" in page.text
    assert "i" not in page.tags
    assert json.loads((tmp_path / "evaluation.json").read_text()) == evaluation.to_dict()


@needs_matplotlib
@pytest.mark.parametrize("scores", [True, False])
def test_report_of_pictures_alone(tmp_path: Path, scores: bool) -> None:
    evaluation = with_pictures(without_scans(LABELS, LABELS[2]), scores=scores, limit=0.5 if scores else None)
    path = write_report(evaluation, tmp_path, title="t", command="c")
    plots = {"outliers.png"} if scores else set()
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "evaluation.json", *plots}
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    assert "Headline figures" not in page.text
    assert ("Plots" in page.text) == scores


def test_tables_are_rectangular() -> None:
    tables: list[Grid] = grids(evaluate())
    assert len(tables) == 5
    for table in tables:
        assert {len(row) for row in table.rows} == {len(table.columns)}
