"""The shipped model gives the same answers in every engine and precision, on the golden scans of its bundle."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from edgebrain.bundle import Bundle, open_bundle
from edgebrain.decision import probabilities_of
from edgebrain.engines import ENGINES, Engine, EngineOptions, open_engine, unavailable_because, unreadable_because
from edgebrain.engines.ov import openvino_core
from edgebrain.errors import EngineUnavailable
from edgebrain.phantom import SAMPLES, draw_phantom
from edgebrain.selftest import read_golden, self_test
from edgebrain.types import Float32, Float64, Image8, Precision

TOLERANCES = {"fp32": 1e-3, "fp16": 1e-2, "int8": 3e-2}
"""Largest difference of a probability from the stored one of the same precision; docs/reference/engines.md gives them.

Two engines round 8-bit sums at other places, so that int8 is not bit for bit the same in both."""


class Way(NamedTuple):
    """One engine and one precision of the shipped model."""

    engine: str
    precision: str


WAYS = [Way("onnxruntime", "fp32"), Way("onnxruntime", "int8"), Way("openvino", "fp32"), Way("openvino", "int8")]


@cache
def edge() -> Bundle:
    return open_bundle("edge")


def opened(way: Way, options: EngineOptions | None = None) -> Engine:
    record = ENGINES[way.engine]
    reason = unavailable_because(record)
    if reason is not None:
        pytest.skip(f"{way.engine}: {reason}")
    artifact = next(
        a
        for a in edge().manifest.artifacts
        if a.precision.value == way.precision and unreadable_because(record, a) is None
    )
    return open_engine(edge().first_alone(), artifact, options or EngineOptions(), way.engine)


def probabilities(engine: Engine) -> Float64:
    logits = engine.run(read_golden(edge()).images)["logits"]
    return np.asarray(probabilities_of(logits, edge().manifest.decision.temperature), np.float64)


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_golden_scans_get_the_stored_answers(way: Way) -> None:
    with closing(opened(way)) as engine:
        result = self_test(edge(), engine)
        found = probabilities(engine)
    golden = read_golden(edge()).logits[way.precision]
    expected = probabilities_of(golden, edge().manifest.decision.temperature)
    assert result.passed
    assert result.labels_agree
    assert (found.argmax(1) == expected.argmax(1)).all()
    assert np.abs(found - expected).max() <= TOLERANCES[way.precision]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_two_engines_agree_on_one_file(precision: str) -> None:
    with closing(opened(Way("openvino", precision))) as one, closing(opened(Way("onnxruntime", precision))) as other:
        first, second = probabilities(one), probabilities(other)
    assert (first.argmax(1) == second.argmax(1)).all()
    assert np.abs(first - second).max() <= TOLERANCES[precision]


@pytest.mark.parametrize("way", WAYS, ids="-".join)
@pytest.mark.parametrize("options", [EngineOptions(threads=2), EngineOptions(streams=2)], ids=["threads", "streams"])
def test_threads_and_streams_change_no_label(way: Way, options: EngineOptions) -> None:
    with closing(opened(way)) as one, closing(opened(way, options)) as other:
        first, second = probabilities(one), probabilities(other)
    assert (first.argmax(1) == second.argmax(1)).all()
    assert np.abs(first - second).max() <= 1e-4


def test_openvino_computes_in_fp16_where_it_can_and_refuses_where_it_cannot() -> None:
    way, options = Way("openvino", "fp32"), EngineOptions(precision=Precision.FP16)
    opened(way).close()
    if "FP16" not in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(EngineUnavailable, match="no fp16 arithmetic"):
            opened(way, options)
        return
    with closing(opened(way, options)) as engine:
        assert engine.info.provider.endswith("f16")
        assert engine.info.precision == "fp16"
        assert self_test(edge(), engine).worst <= TOLERANCES["fp16"]


class Renamed:
    """An engine that says that it computed in fp16, and computed ``shift`` beside it."""

    def __init__(self, engine: Engine, shift: float) -> None:
        self.info = replace(engine.info, precision="fp16")
        self._engine, self._shift = engine, shift

    def run(self, images: Image8) -> dict[str, Float32]:
        return {name: values + np.float32(self._shift) for name, values in self._engine.run(images).items()}

    def close(self) -> None:
        self._engine.close()


def test_fp16_without_golden_outputs_of_its_own_is_held_to_those_of_fp32() -> None:
    with closing(opened(Way("onnxruntime", "fp32"))) as engine:
        test = self_test(edge(), Renamed(engine, 0))
        assert (test.precision, test.tolerance, test.passed) == ("fp16", TOLERANCES["fp16"], True)
        assert not self_test(edge(), Renamed(engine, 5)).passed


def test_openvino_phones_nobody() -> None:
    opened(Way("openvino", "fp32")).close()
    assert sys.modules.get("openvino_telemetry") is None


@pytest.mark.parametrize("command", [["doctor"], ["classify", "."], ["classify", "--engine", "openvino", "."]])
def test_nothing_is_left_in_the_home_of_who_calls(command: list[str], tmp_path: Path) -> None:
    # In a process of its own and without CI in its environment: engines send no events from continuous integration.
    scans, home = tmp_path / "scans", tmp_path / "home"
    for folder in (scans, home):
        folder.mkdir()
    (scans / "scan.png").write_bytes(cv2.imencode(".png", draw_phantom(SAMPLES[0]))[1].tobytes())
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG")}
    environment = {**kept, "HOME": str(home), "EDGEBRAIN_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "edgebrain", *command], cwd=scans, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []


def test_openvino_keeps_nothing_and_reads_nothing_that_was_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("EDGEBRAIN_CACHE", str(home))
    for _ in range(2):  # a blob of the first would be read by the second, and nothing vouches for it
        with closing(opened(Way("openvino", "int8"))) as engine:
            assert self_test(edge(), engine).passed
        assert list(home.iterdir()) == []
