"""What happens to an INT8 file that is not good enough, and what the report says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra 'export' brings onnx")
pytest.importorskip("torch", reason="the package edgebrain.export needs the extra 'export'")

import msgspec
import onnx

from edgebrain.decision import DecisionSpec
from edgebrain.export.formats import FLOAT, INT8, INT8_REDUCED, TARGETS, Format
from edgebrain.export.gate import Row, make_rows
from edgebrain.export.gate_report import Parity, Report
from edgebrain.export.layouts import violations
from edgebrain.export.make import Maker
from edgebrain.export.ranges import Source, measure
from edgebrain.export.to_onnx import to_onnx
from edgebrain.export.topology import consumers
from edgebrain.export.verify import Judge, Limits, Outputs
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.preprocessing import prepare
from edgebrain.train.models import TrainedModel
from edgebrain.types import Image8, Precision, Scan

TRT = TARGETS[Precision.INT8, Format.TENSORRT]
HALF = TARGETS[Precision.FP16, Format.TENSORRT]
LOOSE = Limits(flips=1.0, ece_change=0.002, to_standard=1.0)


@pytest.fixture(scope="module")
def images(trained: TrainedModel) -> Image8:
    drawn = [draw_phantom(PhantomSpec(seed=s, side=96, t2_like=s % 2 == 0)) for s in range(32)]
    return np.stack([prepare(Scan(d, "phantom"), trained.recipe.input).image for d in drawn])


@pytest.fixture(scope="module")
def graph(trained: TrainedModel) -> bytes:
    return to_onnx(trained.net.deployed(), trained.recipe.input, {"id": "small"})


@pytest.fixture
def maker(graph: bytes, images: Image8) -> Maker:
    made = Maker(graph)
    made.ranges = measure(made.ready, images[:16], Source(made.sha256, "scans"))
    return made


def judging(limits: Limits) -> Callable[[Outputs], Judge]:
    """The float file's answers are the truth."""

    def judge(outputs: Outputs) -> Judge:
        return Judge(outputs["logits"].argmax(1).astype(np.int64), DecisionSpec(), 2, limits)

    return judge


def spoil(maker: Maker) -> str:
    """Make the range of one layer's input far too wide, as an outlier among the calibration scans would; its name."""
    assert maker.ranges is not None
    readers = consumers(maker.ready.graph)
    nodes = {n.name: n for n in maker.ready.graph.node}
    name = next(n for n in maker.quantisable() if len(readers[nodes[n].input[0]]) == 1)
    tensor = nodes[name].input[0]
    wide = {**maker.ranges.tensors, tensor: (-1e4, 1e4)}
    maker.ranges = msgspec.structs.replace(maker.ranges, tensors=wide)
    return name


def test_every_file_of_one_calibration_passes_and_keeps_its_layout(maker: Maker, images: Image8) -> None:
    targets = (FLOAT, INT8, INT8_REDUCED, TRT, HALF)
    rows = make_rows(maker, targets, images[16:], judging(LOOSE), lambda _: None)
    assert [row.made.target for row in rows] == list(targets)
    assert [row.failures for row in rows] == [()] * 5
    for row in rows[1:]:
        layout = row.made.target.layout
        assert layout is not None
        assert violations(onnx.load_from_string(row.made.data), layout) == []
    assert rows[3].latency_ms is None
    assert (rows[1].latency_ms or 0) > 0


def test_the_worst_layer_is_found_and_kept_in_float(maker: Maker, images: Image8) -> None:
    name = spoil(maker)
    told: list[str] = []
    _, row = make_rows(maker, (FLOAT, TRT), images, judging(LOOSE), told.append)
    assert row.float_layers == (name,)
    assert row.failures == ()
    assert any("alone in INT8" in text for text in told)
    quantised = onnx.load_from_string(row.made.data).graph
    layer = next(n for n in quantised.node if n.name == name)
    assert "DequantizeLinear" not in layer.input[1]


def test_no_more_layers_stay_in_float_than_are_allowed(maker: Maker, images: Image8) -> None:
    spoil(maker)
    told: list[str] = []
    limits = replace(LOOSE, float_layers=0.0)
    _, row = make_rows(maker, (FLOAT, TRT), images, judging(limits), told.append)
    assert row.float_layers == ()
    assert row.failures
    assert not any("alone in INT8" in text for text in told)


def test_a_share_allows_so_many_layers(maker: Maker, images: Image8) -> None:
    spoil(maker)
    layers = len(maker.quantisable())
    for share, most in ((1.5 / layers, 1), (0.9 / layers, 0)):
        limits = replace(LOOSE, accuracy_drop=-1.0, float_layers=share)  # never passes
        told: list[str] = []
        make_rows(maker, (FLOAT, TRT), images, judging(limits), told.append)
        assert [text for text in told if "layers in float" in text] == [
            f"{TRT.file}: {count} of {layers} layers in float" for count in range(1, most + 1)
        ]


def test_a_file_that_never_passes_fails(maker: Maker, images: Image8) -> None:
    _, row = make_rows(maker, (FLOAT, INT8), images, judging(Limits(accuracy_drop=-1.0)), lambda _: None)
    assert row.float_layers == ()
    assert any("accuracy falls" in text for text in row.failures)


def test_report_names_what_was_kept_and_what_failed(maker: Maker, images: Image8, tmp_path: Path) -> None:
    name = spoil(maker)
    rows = make_rows(maker, (FLOAT, TRT), images, judging(LOOSE), lambda _: None)
    strict = Judge(np.zeros(len(images), np.int64), DecisionSpec(), 2, Limits(accuracy_drop=-1.0))
    half = maker.make(HALF)
    failed = Row(half, rows[0].outputs, None, comparison=strict.compare(rows[0].outputs, rows[0].outputs))
    report = Report("small 1", ["a", "b", "c", "d"], [*rows, failed], maker.ranges, Parity(3, 1e-7, 1.0), "sha")
    assert report.verdict().startswith("FAILED: model.trt.fp16.onnx: accuracy falls")
    report.write(tmp_path)
    told = json.loads((tmp_path / "export_report.json").read_text(encoding="utf-8"))
    assert told["files"][1]["float_layers"] == [name]
    assert told["calibration"] == {"scans": 16, "data_sha256": "scans"}
    text = (tmp_path / "export_report.md").read_text(encoding="utf-8")
    assert f"Kept in float: {name}." in text
    assert "Broken limits:" in text
    assert "On 3 inputs" in text


def test_the_verdict_says_on_what_and_warns_of_what_it_cannot_show(
    maker: Maker, images: Image8, tmp_path: Path
) -> None:
    (row,) = make_rows(maker, (FLOAT,), images, judging(LOOSE), lambda _: None)
    judge = Judge(np.array([0, 1] * (len(images) // 2), np.int64), DecisionSpec(), 2, Limits())
    same = Row(maker.make(HALF), row.outputs, None, comparison=judge.compare(row.outputs, row.outputs))
    report = Report("small 1", ["a", "b", "c", "d"], [row, same], None, None, "sha")
    assert report.verdict() == "passed on 32 scans"
    assert "no scan of c, d" in report.warnings[0]
    assert "32 scans; its strictest limit is one scan in 1000" in report.warnings[1]
    report.write(tmp_path)
    assert all(w in (tmp_path / "export_report.md").read_text(encoding="utf-8") for w in report.warnings)


@pytest.mark.parametrize(("shift", "passes"), [(0.0, True), (0.3, True), (3.0, False)])
def test_limited_gate_wants_the_same_answers_on_golden_inputs(shift: float, passes: bool) -> None:
    first = np.array([[4.0, 0, 0, 0], [0, 4.0, 0, 0]], np.float32)
    second = first + np.array([[0, shift, 0, 0]], np.float32)
    found = Judge(None, DecisionSpec(), 2, Limits()).compare({"logits": first}, {"logits": second})
    assert found.limited
    assert (found.failures == ()) is passes


def test_limited_gate_fails_on_numbers_that_are_none() -> None:
    first = np.array([[4.0, 0, 0, 0]], np.float32)
    found = Judge(None, DecisionSpec(), 2, Limits()).compare({"logits": first}, {"logits": first * np.nan})
    assert found.failures


def test_outlier_scores_that_cross_the_limit_fail() -> None:
    logits = np.eye(4, dtype=np.float32) * 6
    judge = Judge(np.arange(4), DecisionSpec(max_outlier=0.5), 2, Limits())
    original = {"logits": logits, "outlier": np.array([-3, -3, -3, 3], np.float32)}
    other = {"logits": logits, "outlier": np.array([-3, -3, 3, 3], np.float32)}
    assert judge.compare(original, original).failures == ()
    found = judge.compare(original, other)
    assert found.outlier_changes == 1
    assert found.outlier_shift == pytest.approx(0.905, abs=1e-3)
    assert any("1 of 4 scans are an outlier to one file only" in text for text in found.failures)
