"""Which files an export makes, and which wishes make no sense."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("torch", reason="the package edgebrain.export needs the extra 'export'")

from edgebrain.errors import UsageError
from edgebrain.export.formats import FLOAT, INT8, INT8_REDUCED, Format, Layout, targets
from edgebrain.types import Precision

FP32, FP16, EIGHT = Precision.FP32, Precision.FP16, Precision.INT8


def test_nothing_asked_for_is_int8_for_cpus() -> None:
    assert targets((), ()) == (FLOAT, INT8)


def test_everything_is_seven_files() -> None:
    made = targets(list(Precision), list(Format), every_format=True, reduce_range=True)
    assert [t.file for t in made] == [
        "model.onnx",
        "model.int8.onnx",
        "model.ov.fp16.xml",
        "model.ov.int8.xml",
        "model.trt.fp16.onnx",
        "model.trt.int8.onnx",
        "model.int8.reduced.onnx",
    ]
    assert made[-1] == INT8_REDUCED
    assert {t.layout for t in made} == {None, *Layout}


@pytest.mark.parametrize(
    ("precision", "chosen", "said"),
    [
        (FP16, Format.ONNX, r"no fp16 file for --format onnx.*--format openvino or --format tensorrt"),
        (FP32, Format.OPENVINO, r"no fp32 file for --format openvino: OpenVINO runs fp32 from model\.onnx"),
        (FP32, Format.TENSORRT, r"no fp32 file for --format tensorrt"),
    ],
)
def test_pairs_without_a_file_are_one_error(precision: Precision, chosen: Format, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        targets({precision}, {chosen})


def test_every_wish_has_a_file_or_is_refused() -> None:
    for precision, chosen in itertools.product(Precision, Format):
        try:
            made = targets({precision}, {chosen})
        except UsageError:
            continue
        assert made[0] == FLOAT
        assert precision is FP32 or {t.precision for t in made[1:]} == {precision}


def test_fp16_in_all_formats_is_no_mistake_because_of_onnx() -> None:
    assert [t.engine for t in targets({FP16}, list(Format), every_format=True)] == [
        "onnxruntime",
        "openvino",
        "tensorrt",
    ]


def test_one_wish_that_cannot_be_met_is_not_left_out_in_silence() -> None:
    with pytest.raises(UsageError, match="fp16"):
        targets({FP16, EIGHT}, {Format.ONNX})


def test_reduced_range_is_about_int8() -> None:
    with pytest.raises(UsageError, match="--reduce-range"):
        targets({FP16}, {Format.TENSORRT}, reduce_range=True)
