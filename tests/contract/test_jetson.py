"""On the device: TensorRT computes what the bundle's maker computed. `make test-jetson` runs this there.

The expected outputs are the golden ones of the bundle, the same that `edgebrain doctor` tests with. EDGEBRAIN_MODEL
names another bundle than the built-in one, such as one made with `edgebrain export --format tensorrt`.
"""

from __future__ import annotations

import os
from contextlib import closing
from functools import cache

import numpy as np
import pytest

from edgebrain.bundle import Artifact, Bundle, open_bundle
from edgebrain.device import probe
from edgebrain.engines import ENGINES, EngineOptions, open_engine, unavailable_because, unreadable_because
from edgebrain.engines.trt_rules import dla_refusal
from edgebrain.selftest import read_golden, self_test
from edgebrain.types import Precision

MISSING = unavailable_because(ENGINES["tensorrt"])
pytestmark = [
    pytest.mark.jetson,
    pytest.mark.skipif(MISSING is not None, reason=f"needs TensorRT and its device: {MISSING}"),
]
CUDA = EngineOptions(device="cuda")


@cache
def model() -> Bundle:
    return open_bundle(os.environ.get("EDGEBRAIN_MODEL", "edge"))


def artifact_of(precision: str) -> Artifact:
    record = ENGINES["tensorrt"]
    usable = [a for a in model().manifest.artifacts if unreadable_because(record, a) is None]
    found = next((a for a in usable if a.precision.value == precision), None)
    if found is None:
        pytest.skip(f"the bundle has no file in {precision} for TensorRT")
    return found


@pytest.fixture(autouse=True)
def cache_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One cache for the whole run, so that every engine is built once, and none of an earlier run is taken."""
    monkeypatch.setenv("EDGEBRAIN_CACHE", str(tmp_path_factory.getbasetemp() / "jetson"))


@pytest.mark.parametrize("precision", [p.value for p in Precision])
def test_golden_scans_get_the_stored_answers(precision: str) -> None:
    with closing(open_engine(model().first_alone(), artifact_of(precision), CUDA, "tensorrt")) as engine:
        result = self_test(model(), engine)
    assert result.labels_agree
    assert result.worst <= result.tolerance


@pytest.mark.parametrize("precision", [p.value for p in Precision])
def test_a_large_batch_gives_what_its_images_give_alone(precision: str) -> None:
    images = np.resize(read_golden(model()).images, (70, *read_golden(model()).images.shape[1:]))
    with closing(open_engine(model().first_alone(), artifact_of(precision), CUDA, "tensorrt")) as engine:
        together = engine.run(images)["logits"]
        alone = np.concatenate([engine.run(images[i : i + 1])["logits"] for i in range(3)])
    assert (together[:3].argmax(1) == alone.argmax(1)).all()
    assert together[:3] == pytest.approx(alone, rel=0.05, abs=0.2)


@pytest.mark.parametrize("precision", [p.value for p in Precision])
def test_the_second_start_builds_nothing(precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = artifact_of(precision)
    open_engine(model().first_alone(), artifact, CUDA, "tensorrt").close()
    capsys.readouterr()
    open_engine(model().first_alone(), artifact, CUDA, "tensorrt").close()
    assert "Building" not in capsys.readouterr().err


def test_the_dla_computes_the_same() -> None:
    facts = probe()
    if not facts.accelerators.dla or dla_refusal(facts.tensorrt) is not None:
        pytest.skip("this board or this TensorRT has no DLA")
    with closing(
        open_engine(model().first_alone(), artifact_of("fp16"), EngineOptions(device="dla"), "tensorrt")
    ) as engine:
        assert self_test(model(), engine).passed
