"""Pictures that are no brain MRI, in an evaluation: what becomes of them, and what refusing them costs on scans."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebrain import Classifier
from edgebrain.bundle import GraphSpec
from edgebrain.cli.app import run
from edgebrain.decision import DecisionSpec
from edgebrain.errors import UsageError
from edgebrain.evaluation.outliers import BINS, Seen, outlier_figures
from edgebrain.evaluation.run import evaluate_samples
from edgebrain.intervals import Estimate, wilson
from edgebrain.labelled import NOT_BRAIN_MRI, Sample
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.report.tables import grids
from edgebrain.types import Float32, Image8, Triage

MakeClassifier = Callable[..., Classifier]
LIMIT = 0.5

# Four scans, one of them above the limit; five pictures of two sources, two of them below it.
SEEN = [
    Seen(picture=False, source="hospital", triage=Triage.STANDARD, score=0.0),
    Seen(picture=False, source="hospital", triage=Triage.PRIORITISE, score=0.1),
    Seen(picture=False, source="hospital", triage=Triage.CANNOT_ASSESS, score=0.2),
    Seen(picture=False, source="hospital", triage=Triage.CANNOT_ASSESS, score=0.6),
    Seen(picture=True, source="cats", triage=Triage.STANDARD, score=0.15),
    Seen(picture=True, source="cats", triage=Triage.CANNOT_ASSESS, score=0.9),
    Seen(picture=True, source="knees", triage=Triage.PRIORITISE, score=0.3),
    Seen(picture=True, source="knees", triage=Triage.CANNOT_ASSESS, score=1.0),
    Seen(picture=True, source="knees", triage=Triage.CANNOT_ASSESS, score=0.7),
]


def test_figures_by_hand() -> None:
    found = outlier_figures(SEEN, LIMIT, resamples=50)
    assert (found.n, found.scans, found.limit) == (5, 4, LIMIT)
    assert found.accepted == Estimate(0.4, *wilson(2, 5), "wilson")
    assert found.standard == Estimate(0.2, *wilson(1, 5), "wilson")
    assert found.refused_as_outlier == Estimate(0.25, *wilson(1, 4), "wilson")
    assert [(row.source, row.n, row.accepted.value) for row in found.per_source] == [
        ("cats", 2, 0.5),
        ("knees", 3, pytest.approx(1 / 3)),
    ]
    # Pairs of a picture and a scan that are in order: 2 of 4 for 0.15, 3 for 0.3, and all for the others.
    assert found.auroc.value == pytest.approx((2 + 4 + 3 + 4 + 4) / 20)
    assert found.auroc.method == "bootstrap"


def test_the_histogram_holds_everything_once() -> None:
    scores = outlier_figures(SEEN, LIMIT, resamples=5).scores
    assert len(scores) == BINS
    assert (scores[0].low, scores[-1].high) == (0, 1)
    assert (sum(row.scans for row in scores), sum(row.pictures for row in scores)) == (4, 5)
    assert (scores[0].scans, scores[-1].pictures) == (1, 1)


def test_pictures_alone_and_scans_alone() -> None:
    pictures = outlier_figures([one for one in SEEN if one.picture], LIMIT, resamples=5)
    assert (pictures.n, pictures.scans, pictures.accepted.value) == (5, 0, 0.4)
    assert (pictures.refused_as_outlier, pictures.auroc) == (Estimate(None), Estimate(None))
    scans = outlier_figures([one for one in SEEN if not one.picture], LIMIT, resamples=5)
    assert (scans.n, scans.scans, scans.refused_as_outlier.value) == (0, 4, 0.25)
    assert (scans.accepted, scans.auroc, scans.per_source) == (Estimate(None), Estimate(None), ())


def test_without_scores_only_triage_counts() -> None:
    bare = [Seen(one.picture, one.source, one.triage, None) for one in SEEN]
    found = outlier_figures(bare, None, resamples=5)
    assert (found.n, found.accepted.value, found.scans, found.scores) == (5, 0.4, 0, ())
    assert (found.refused_as_outlier, found.auroc) == (Estimate(None), Estimate(None))


def test_groups_count_once() -> None:
    groups = ["a", "a", "b", "b", *"ccddd"]
    alone = outlier_figures(SEEN, LIMIT, resamples=200)
    together = outlier_figures(SEEN, LIMIT, groups=groups, resamples=200)
    assert together.accepted.value == alone.accepted.value
    assert together.accepted.method == "clustered wilson"
    assert together.auroc.method == "cluster bootstrap"


ANSWERS = st.builds(
    Seen,
    picture=st.booleans(),
    source=st.sampled_from(["", "a", "b"]),
    triage=st.sampled_from(Triage),
    score=st.none() | st.floats(0, 1),
)


@given(st.lists(ANSWERS, min_size=1, max_size=12), st.none() | st.floats(0.01, 0.99))
@settings(max_examples=60, deadline=None)
def test_whatever_the_answers_the_figures_are_shares(seen: list[Seen], limit: float | None) -> None:
    found = outlier_figures(seen, limit, resamples=10)
    for figure in (found.accepted, found.standard, found.refused_as_outlier, found.auroc):
        if figure.value is None:
            assert (figure.low, figure.high) == (None, None)
        else:
            assert figure.low is not None
            assert figure.high is not None
            assert 0 <= figure.low <= figure.value <= figure.high <= 1
    assert sum(row.n for row in found.per_source) == found.n == sum(one.picture for one in seen)


# Through a classifier


def by_brightness(images: Image8) -> Float32:
    """Above 0 where the middle is white: those stand for pictures."""
    side = images.shape[-1]
    middle = images[:, 0, side // 2 - 2 : side // 2 + 2, side // 2 - 2 : side // 2 + 2]
    return np.where(middle.mean((1, 2)) > 250, 4.0, -4.0).astype(np.float32)


def calm(images: Image8) -> Float32:
    return np.tile(np.array([-9, -9, 9, -9], np.float32), (len(images), 1))


@pytest.fixture
def judging(make_classifier: MakeClassifier) -> Classifier:
    return make_classifier(
        calm, by_brightness, graph=GraphSpec(outlier="outlier"), decision=DecisionSpec(max_outlier=LIMIT)
    )


def drawn(folder: Path, name: str, *, white: bool, **fields: Any) -> Sample:
    pixels = draw_phantom(PhantomSpec(seed=len(name), side=64))
    if white:
        pixels[8:56, 8:56] = 255
    path = folder / f"{name}.png"
    cv2.imwrite(str(path), pixels)
    return Sample(path=str(path), **{"source": "here", **fields})


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return [
        drawn(tmp_path, "a", white=False, label="no_tumor"),
        drawn(tmp_path, "bb", white=True, label=NOT_BRAIN_MRI, source="cats"),
        drawn(tmp_path, "ccc", white=True, label="glioma"),
        drawn(tmp_path, "dddd", white=False, label=NOT_BRAIN_MRI, source="cats"),
        drawn(tmp_path, "eeeee", white=False, label="no_tumor"),
    ]


def test_pictures_stay_out_of_the_figures_on_scans(judging: Classifier, samples: list[Sample]) -> None:
    found = evaluate_samples(judging, samples)
    own = evaluate_samples(judging, [one for one in samples if one.label != NOT_BRAIN_MRI])
    assert found.n == own.n == 3
    assert (found.accuracy, found.confusion, found.triage) == (own.accuracy, own.confusion, own.triage)
    assert found.outliers is not None
    assert (found.outliers.n, found.outliers.accepted.value, found.outliers.standard.value) == (2, 0.5, 0.5)
    assert found.outliers.refused_as_outlier.value == pytest.approx(1 / 3)
    assert any("no figure but those on outliers" in note for note in found.notes)
    assert own.outliers is not None
    assert own.outliers.n == 0
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["outliers"]["per_source"][0]["source"] == "cats"


def test_pictures_have_no_groups_where_scans_have(judging: Classifier, samples: list[Sample]) -> None:
    grouped = [
        Sample(one.path, one.label, one.source, "" if one.label == NOT_BRAIN_MRI else "patient") for one in samples
    ]
    found = evaluate_samples(judging, grouped)
    assert found.n_groups == 1
    assert found.outliers is not None
    assert found.outliers.accepted.method == "clustered wilson"


def test_pictures_alone_give_no_figure_on_scans(judging: Classifier, samples: list[Sample]) -> None:
    found = evaluate_samples(judging, [one for one in samples if one.label == NOT_BRAIN_MRI])
    assert found.n == 0
    assert found.accuracy == found.macro_f1 == found.calibration.ece == Estimate(None)
    assert found.outliers is not None
    assert (found.outliers.n, found.outliers.accepted.value) == (2, 0.5)
    assert [grid.title for grid in grids(found)] == ["Pictures that are no brain MRI"]
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_model_without_the_output_is_judged_by_its_triage(
    make_classifier: MakeClassifier, samples: list[Sample]
) -> None:
    found = evaluate_samples(make_classifier(calm), samples)
    assert found.outliers is not None
    assert (found.outliers.n, found.outliers.accepted.value, found.outliers.scores) == (2, 1.0, ())
    assert evaluate_samples(make_classifier(calm), samples[:1]).outliers is None


def test_a_model_that_knows_pictures_as_a_label_is_judged_as_ever(
    make_classifier: MakeClassifier, samples: list[Sample]
) -> None:
    labels = ("glioma", "no_tumor", NOT_BRAIN_MRI)
    found = evaluate_samples(make_classifier(labels=labels), samples)
    assert (found.n, found.outliers) == (5, None)


def test_an_unreadable_picture_is_counted(judging: Classifier, samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"")
    broken = Sample(str(tmp_path / "broken.png"), NOT_BRAIN_MRI)
    messages: list[str] = []
    assert evaluate_samples(judging, [*samples, broken], complain=messages.append).n_failed == 1
    assert "broken.png" in messages[0]
    with pytest.raises(UsageError, match="None of the scans"):
        evaluate_samples(judging, [broken])


@pytest.mark.parametrize("scans", [True, False])
def test_the_command_takes_pictures(
    samples: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str], scans: bool
) -> None:
    pytest.importorskip("matplotlib", reason="plots need the extra 'report'")
    rows = [f"{one.path},{one.label}" for one in samples if scans or one.label == NOT_BRAIN_MRI]
    (tmp_path / "set.csv").write_text("\n".join(["path,label", *rows]), encoding="utf-8")
    assert run(["evaluate", str(tmp_path / "set.csv"), "--report", str(tmp_path / "report")]) == 0
    out = capsys.readouterr().out
    assert "Pictures not refused" in out
    assert ("Headline figures" in out) == scans
    numbers = json.loads((tmp_path / "report" / "evaluation.json").read_text(encoding="utf-8"))
    assert (numbers["n"], numbers["outliers"]["n"]) == (3 if scans else 0, 2)
