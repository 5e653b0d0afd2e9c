"""Which cases a benchmark measures: engines, precisions, threads and batches, from what there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from edgebrain.benchmark.cases import ALL, Wanted, plan, powers
from edgebrain.bundle import Artifact, Manifest
from edgebrain.device import Facts
from edgebrain.engines import ENGINES
from edgebrain.errors import EngineUnavailable
from edgebrain.types import Precision

MakeManifest = Callable[..., Manifest]
OTHERS = {name: "a test" for name in ENGINES if name != "onnxruntime"}
FACTS = Facts("x86_64", "a processor", 2, frozenset({"avx512_vnni"}), 2**30, "", OTHERS)


def artifact(precision: Precision, engine: str = "onnxruntime") -> Artifact:
    return Artifact(f"model.{precision.value}.onnx", engine, precision, "0" * 64, 0)


def test_all_engines_and_precisions_are_tried_and_what_cannot_run_says_why(make_manifest: MakeManifest) -> None:
    files = (artifact(Precision.FP32), artifact(Precision.INT8), artifact(Precision.FP16, "no such engine"))
    planned = plan(Wanted("tiny", engine=ALL), FACTS, make_manifest(artifacts=files))
    assert [(c.engine, c.precision) for c in planned.cases] == [("onnxruntime", "int8"), ("onnxruntime", "fp32")]
    assert "onnxruntime fp16" in {one.what for one in planned.skipped}
    assert all(one.reason for one in planned.skipped)
    assert planned.swept == ()


def test_the_file_that_was_made_for_an_engine_is_measured_too(make_manifest: MakeManifest) -> None:
    own = Artifact("model.ov.int8.xml", "openvino", Precision.INT8, "0" * 64, 0)
    files = (artifact(Precision.FP32), artifact(Precision.INT8), own)
    both = replace(FACTS, unavailable={"tensorrt": "it is not installed"})
    planned = plan(Wanted("tiny", engine=ALL, sweep=True), both, make_manifest(artifacts=files))
    found = {(c.engine, c.file) for c in planned.cases}
    assert {("onnxruntime", "model.int8.onnx"), ("openvino", "model.ov.int8.xml")} < found
    assert {(c.engine, c.file) for c in planned.swept} == found


def test_the_first_case_is_what_classify_would_run(make_manifest: MakeManifest) -> None:
    manifest = make_manifest(artifacts=(artifact(Precision.FP32), artifact(Precision.INT8)))
    assert plan(Wanted("tiny"), FACTS, manifest).cases[0].precision == "int8"
    assert plan(Wanted("tiny", precision="fp32"), FACTS, manifest).cases[0].precision == "fp32"
    with pytest.raises(EngineUnavailable):
        plan(Wanted("tiny", precision="fp16"), FACTS, manifest)


def test_a_sweep_changes_threads_and_batches_one_case_each(make_manifest: MakeManifest) -> None:
    manifest = make_manifest(artifacts=(artifact(Precision.FP32),))
    planned = plan(Wanted("tiny", sweep=True), replace(FACTS, cpus=3), manifest)
    assert {case.threads for case in planned.swept} == {1, 2, 3}
    assert len({*planned.cases, *planned.swept}) == len(planned.swept) + 1 == 21
    fixed = plan(Wanted("tiny", sweep=True, threads=2), FACTS, manifest)
    assert {case.threads for case in fixed.swept} == {2}


def test_threads_are_powers_of_two_and_the_limit() -> None:
    assert [powers(n) for n in (1, 2, 3, 8)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8]]
