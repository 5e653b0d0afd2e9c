"""OpenVINO's own format: two files, both named and hashed by the manifest."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace as changed

from edgebrain.bundle import Artifact, Bundle, open_bundle
from edgebrain.engines import ENGINES, EngineOptions, open_engine, unavailable_because
from edgebrain.engines.ov import load_openvino, openvino_core
from edgebrain.errors import EngineFailed, HashMismatch
from edgebrain.types import Precision

IMAGES = np.random.default_rng(3).integers(0, 256, (3, 1, 32, 32), dtype=np.uint8)


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    """The small bundle with its graph as IR, weights in fp16."""
    if unavailable_because(ENGINES["openvino"]) is not None:
        pytest.skip("the extra 'openvino' is not installed")
    openvino: Any = load_openvino()
    model = openvino_core().read_model(tiny_bundle / "model.onnx")
    openvino.save_model(model, tiny_bundle / "model.fp16.xml", compress_to_fp16=True)
    opened = open_bundle(tiny_bundle)
    files = []
    for name in ("model.fp16.xml", "model.fp16.bin"):
        data = (tiny_bundle / name).read_bytes()
        files.append(Artifact(name, "openvino", Precision.FP16, hashlib.sha256(data).hexdigest(), len(data)))
    return Bundle(tiny_bundle, changed(opened.manifest, artifacts=(*opened.manifest.artifacts, *files)))


def test_it_gives_what_the_graph_gives(bundle: Bundle) -> None:
    full, description, _ = bundle.manifest.artifacts
    expected = open_engine(bundle, full, EngineOptions()).run(IMAGES)
    engine = open_engine(bundle, description, EngineOptions())
    assert (engine.info.name, engine.info.precision) == ("openvino", "fp16")
    assert engine.info.provider in ("CPU f32", "CPU f16")  # never bfloat16
    for role, values in engine.run(IMAGES).items():
        assert values == pytest.approx(expected[role], rel=1e-2, abs=1e-2)


def test_weights_that_were_changed_are_refused(bundle: Bundle) -> None:
    path = bundle.folder / "model.fp16.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(HashMismatch, match=r"model\.fp16\.bin"):
        open_engine(bundle, bundle.manifest.artifacts[1], EngineOptions())


def test_weights_that_the_manifest_does_not_name_are_not_read(bundle: Bundle) -> None:
    full, description, _ = bundle.manifest.artifacts
    without = Bundle(bundle.folder, changed(bundle.manifest, artifacts=(full, description)))
    with pytest.raises(EngineFailed, match=r"does not name the weights of model\.fp16\.xml"):
        open_engine(without, description, EngineOptions())


SIGNAL_AFTER_TWO = """
import os, sys
from edgebrain.classifier import Classifier
both = [Classifier.load(sys.argv[1], engine="openvino") for _ in range(2)]
for one in both:
    one.close()
del one, both
try:
    os.kill(os.getpid(), 2)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_after_two_engines_is_no_crash(bundle: Bundle) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL_AFTER_TWO, str(bundle.folder)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
