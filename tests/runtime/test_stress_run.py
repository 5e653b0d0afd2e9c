"""Stress and probes end to end, with an engine whose answers are known; and the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgebrain.bundle import GraphSpec
from edgebrain.classifier import Classifier
from edgebrain.cli.app import run
from edgebrain.errors import EXIT_USAGE, UsageError
from edgebrain.evaluation.probes import probe_samples
from edgebrain.evaluation.stress import is_within, stress_samples
from edgebrain.evaluation.stress_record import StressReport
from edgebrain.labelled import Sample
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.report.stress import appendix
from edgebrain.stress.changes import STRESSES, find_stress
from edgebrain.types import Float32, Image8

MakeClassifier = Callable[..., Classifier]


def by_brightness(images: Image8) -> Float32:
    """Calls a picture a glioma when it is bright, else free of tumour."""
    bright = images.mean(axis=(1, 2, 3)) > 110
    return np.where(bright[:, None], [[9.0, 0, 0, 0]], [[0.0, 0, 9, 0]]).astype(np.float32)


def picture(level: int, seed: int) -> Image8:
    pixels = np.full((64, 64), level, np.uint8)
    pixels[8:56, 8:56] += np.random.default_rng(seed).integers(0, 20, (48, 48)).astype(np.uint8)
    return pixels


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    found = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        bright = number < 3
        cv2.imwrite(str(path), picture(200 if bright else 20, number))
        found.append(Sample(str(path), "glioma" if bright else "no_tumor", group=f"g{number // 2}"))
    return found


def test_figures_by_hand(samples: list[Sample], make_classifier: MakeClassifier) -> None:
    report = stress_samples(make_classifier(by_brightness), samples, resamples=50)
    rows = {row.name: row for row in report.rows}
    assert list(rows) == [stress.name for stress in STRESSES]
    assert (report.n, report.n_failed, report.n_groups, report.mode) == (6, 0, 3, "labels")
    clean, inverted = rows["clean"], rows["inverted"]
    assert (clean.accuracy.value, clean.change.value, clean.within_limit) == (1.0, 0.0, True)
    assert (inverted.accuracy.value, inverted.tumor_sensitivity.value, inverted.tumor_specificity.value) == (0, 0, 0)
    assert (inverted.change.value, inverted.tumors_standard.value, inverted.within_limit) == (-100, 1, False)
    assert (inverted.change.low, inverted.change.high) == (-100, -100)
    assert rows["flipped_left_right"].within_limit
    assert "inverted" in report.exceeded
    json.dumps(report.to_dict(), allow_nan=False)


def test_binary_truth_is_tumour_against_none(samples: list[Sample], make_classifier: MakeClassifier) -> None:
    words = [Sample(s.path, "tumor" if s.label == "glioma" else s.label) for s in samples]
    report = stress_samples(make_classifier(by_brightness), words, resamples=20)
    assert (report.mode, report.n_groups, report.rows[0].accuracy.value) == ("tumor_vs_none", None, 1.0)


def test_pictures_that_are_no_scans_are_left_out(samples: list[Sample], make_classifier: MakeClassifier) -> None:
    more = [*samples, Sample(samples[0].path, "not_brain_mri", group="g9")]
    assert stress_samples(make_classifier(by_brightness), more, resamples=10).n == 6
    assert probe_samples(make_classifier(by_brightness), more, resamples=10).n == 6


def test_scans_without_an_answer(samples: list[Sample], tmp_path: Path, make_classifier: MakeClassifier) -> None:
    (tmp_path / "broken.png").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "small.png"), picture(200, 9)[:34, :34])
    more = [*samples, Sample(str(tmp_path / "broken.png"), "glioma"), Sample(str(tmp_path / "small.png"), "glioma")]
    report = stress_samples(make_classifier(by_brightness), more, resamples=20)
    rows = {row.name: row for row in report.rows}
    assert (report.n, report.n_failed) == (7, 1)
    # Three quarters of 34 pixels are too few for preprocessing.
    squeezed = rows["squeezed_0.75"]
    assert (squeezed.n, squeezed.n_refused) == (7, 1)
    assert squeezed.accuracy.value == pytest.approx(6 / 7)
    assert (squeezed.abstention.value or 0) >= 1 / 7
    with pytest.raises(UsageError, match="None of the scans"):
        stress_samples(make_classifier(by_brightness), more[6:7])


def test_memory_is_bounded(
    samples: list[Sample], make_classifier: MakeClassifier, scans_alive: Callable[[], int]
) -> None:
    most = 0
    classifier = make_classifier(by_brightness)
    predict = classifier.predict

    def watched(ready: list[Any]) -> list[Any]:
        nonlocal most
        most = max(most, scans_alive())
        return predict(ready)

    classifier.predict = watched  # type: ignore[method-assign]
    stress_samples(classifier, samples, batch_size=4, resamples=10)
    assert 0 < most <= 4 * (classifier.workers + 1)


@pytest.mark.parametrize(
    ("points", "limit", "held"), [(-2, 2, True), (-2.1, 2, False), (3, 0, True), (-99, None, True)]
)
def test_limits_are_judged(points: float, limit: float | None, held: bool) -> None:
    assert is_within(points, limit) is held


def test_chosen_stresses_alone(samples: list[Sample], make_classifier: MakeClassifier) -> None:
    chosen = [STRESSES[0], find_stress("gamma_2.2")]
    report = stress_samples(make_classifier(by_brightness), samples, stresses=chosen, resamples=10)
    assert [row.name for row in report.rows] == ["clean", "gamma_2.2"]


def heads(tmp_path: Path) -> list[Sample]:
    found = []
    for seed in range(4):
        path = tmp_path / f"head{seed}.png"
        lesion = "hemisphere" if seed % 2 else "none"
        cv2.imwrite(str(path), draw_phantom(PhantomSpec(seed=seed, lesion=lesion, side=96)))
        found.append(Sample(str(path), "glioma" if seed % 2 else "no_tumor"))
    return found


def test_probes_tell_a_model_that_sees_no_tumour_from_the_picture(
    tmp_path: Path, make_classifier: MakeClassifier
) -> None:
    def always(images: Image8) -> Float32:
        return np.tile(np.array([5.0, 0, 0, 0], np.float32), (len(images), 1))

    report = probe_samples(make_classifier(always), heads(tmp_path), batch_size=3, resamples=20)
    assert (report.n, report.majority_share, report.accuracy.value) == (4, 0.5, 0.5)
    assert report.masking.n + report.masking.n_without == 2
    assert [view.name for view in report.views] == ["outline", "coarse", "no_background"]
    for view in report.views:
        assert view.same_label.value == 1
        assert {row.truth: row.labels["glioma"] for row in view.answered} == {"glioma": 1, "no_tumor": 1}
    if report.masking.n:
        assert (report.masking.hidden.flipped.value, report.masking.hidden.mean_drop.value) == (0, 0)
    json.dumps(report.to_dict(), allow_nan=False)


def test_probes_see_a_tumour_go(tmp_path: Path, make_classifier: MakeClassifier) -> None:
    def brightest(images: Image8) -> Float32:
        lesion = np.sort(images.reshape(len(images), -1), axis=1)[:, -10:].mean(axis=1) > 200
        return np.where(lesion[:, None], [[9.0, 0, 0, 0]], [[0.0, 0, 9, 0]]).astype(np.float32)

    pixels = np.zeros((96, 96), np.uint8)
    cv2.circle(pixels, (48, 48), 40, 90, -1)
    cv2.circle(pixels, (36, 60), 6, 250, -1)
    cv2.imwrite(str(tmp_path / "lesion.png"), pixels)
    classifier = make_classifier(brightest)
    engine_run = classifier.engine.run

    def with_map(images: Image8) -> dict[str, Float32]:
        means = images.reshape(len(images), 1, 8, 4, 8, 4).max(axis=(3, 5)).astype(np.float32)
        return {**engine_run(images), "cam": np.repeat(means**4, 4, axis=1)}

    classifier.engine.run = with_map  # type: ignore[method-assign]
    report = probe_samples(classifier, [Sample(str(tmp_path / "lesion.png"), "glioma")], resamples=20)
    assert report.masking.n == 1
    assert report.masking.hidden.flipped.value == report.masking.hidden.lost.value == 1
    assert report.masking.control.flipped.value == 0
    assert (report.masking.hidden.mean_drop.value or 0) > 0.9


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"graph": GraphSpec()}, "class-activation"), ({"negative_label": None}, "means no tumour")],
)
def test_a_model_that_cannot_be_probed_is_one_error(
    changes: dict[str, Any], message: str, samples: list[Sample], make_classifier: MakeClassifier
) -> None:
    with pytest.raises(UsageError, match=message):
        probe_samples(make_classifier(by_brightness, **changes), samples)


def test_the_appendix_says_what_is_over(samples: list[Sample], make_classifier: MakeClassifier) -> None:
    report: StressReport = stress_samples(make_classifier(by_brightness), samples, resamples=20)
    probes = probe_samples(make_classifier(by_brightness), samples, resamples=20)
    more = appendix(report, probes, plots=False)
    rows = {row[0].text: [cell.text for cell in row] for row in more.grids[0].rows}
    assert rows["inverted"][1:4] == ["0.0", "-100.0", "over 5"]
    assert [name for name, _ in more.files] == ["stress.json", "probes.json"]
    assert len(more.grids) == 5
    assert appendix(None, None, plots=True).grids == ()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for k, name in enumerate(("glioma", "notumor")):
        (root / name).mkdir(parents=True)
        lesion = "none" if k else "hemisphere"
        cv2.imwrite(str(root / name / "0.png"), draw_phantom(PhantomSpec(seed=k, lesion=lesion, side=96)))
    return root


def test_the_command_measures_and_reports(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="plots need the extra 'report'")
    folder = tmp_path / "report"
    assert run(["evaluate", str(data), "--stress", "--probes", "--report", str(folder), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["n"], figures["stress"]["n"], figures["probes"]["n"]) == (2, 2, 2)
    assert json.loads((folder / "stress.json").read_text(encoding="utf-8")) == figures["stress"]
    assert json.loads((folder / "probes.json").read_text(encoding="utf-8")) == figures["probes"]
    assert (folder / "stress.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Under stress" in page
    assert "flipped_upside_down" in page
    assert "Probe: hiding where the model looks" in page


def test_the_command_prints_tables_that_fit(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["evaluate", str(data), "--stress"]) == 0
    out = capsys.readouterr().out
    assert "flipped_upside_down" in out
    assert "Probe" not in out


@pytest.fixture
def plain_bundle(tmp_path: Path, build_graph: Callable[..., bytes], write_bundle: Callable[..., Path]) -> Path:
    """A bundle that gives logits alone."""
    return write_bundle(tmp_path / "plain", build_graph(outputs=("logits",)), graph=GraphSpec())


def test_a_bundle_without_maps_is_refused_before_the_work(
    data: Path, plain_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        pytest.fail("scans were classified before the model was checked")

    monkeypatch.setattr("edgebrain.cli.run_evaluate.evaluate_samples", fail)
    assert run(["evaluate", str(data), "--probes", "--model", str(plain_bundle)]) == EXIT_USAGE
    assert "class-activation maps" in capsys.readouterr().err


def test_pictures_alone_cannot_be_stressed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "set" / "not_brain_mri"
    folder.mkdir(parents=True)
    assert cv2.imwrite(str(folder / "a.png"), picture(100, 0))
    assert run(["evaluate", str(folder.parent), "--stress"]) == EXIT_USAGE
    assert "holds only pictures" in capsys.readouterr().err
