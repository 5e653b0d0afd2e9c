"""Every kind of architecture becomes INT8 and FP16 in every layout, and runs on ONNX Runtime and OpenVINO.

Weights are random and the calibration is tiny: this is about graphs, not about accuracy. Deep ones of each kind take
long and are marked ``slow``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra 'export' brings onnx")
pytest.importorskip("torch", reason="the extra 'export' brings torch")

import torch
from torch import Tensor, nn

from edgebrain.bundle import open_bundle
from edgebrain.export.formats import FLOAT, TARGETS, Format, Target, targets
from edgebrain.export.make import Maker
from edgebrain.export.pipeline import ExportRequest, export_bundle
from edgebrain.export.ranges import Source, measure
from edgebrain.export.to_onnx import in_batches, run_onnx, to_onnx
from edgebrain.export.verify import Limits
from edgebrain.labelled import Sample
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.preprocessing import prepare
from edgebrain.train.config import load_recipe
from edgebrain.train.data import digest
from edgebrain.train.edge import EdgeOutput
from edgebrain.train.models import build, save_model
from edgebrain.types import Image8, InputSpec, Precision, Scan

WANTED: Sequence[Target] = [target for target in TARGETS.values() if target != FLOAT]
FAST = ("cnn3", "resnet18", "transformer")
SLOW = ("inception-v3", "densenet121", "xception", "efficientnet-b0", "vgg16")
SIDES = {"inception-v3": 75, "xception": 71}


class Transformer(nn.Module):
    """A vision transformer of two blocks, made of the layers of torchvision's."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import VisionTransformer

        self.body = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=4)
        nn.init.normal_(self.body.heads.head.weight, std=0.5)

    def forward(self, image: Tensor) -> EdgeOutput:
        x = image.float().div(255).expand(-1, 3, -1, -1)
        return EdgeOutput(self.body(x), self.body.conv_proj(x).mean((2, 3)))


def network(name: str) -> tuple[nn.Module, InputSpec]:
    torch.manual_seed(0)
    if name == "transformer":
        return Transformer().eval(), InputSpec(width=32, height=32)
    side = SIDES.get(name, 32)
    recipe = "cnn3-binary" if name == "cnn3" else "resnet50-finetune"
    size = [f"input.width={side}", f"input.height={side}"]
    net = build(load_recipe(recipe, [f"architecture={name}", "transfer.weights=none", *size]))
    with torch.no_grad():
        net.train()(torch.from_numpy(images(InputSpec(width=side, height=side))))  # statistics of real activations
    return net.eval().deployed(), InputSpec(width=side, height=side)


def images(spec: InputSpec) -> Image8:
    drawn = [draw_phantom(PhantomSpec(seed=s, side=96, t2_like=s % 2 == 0)) for s in range(16)]
    return np.stack([prepare(Scan(d, "phantom"), spec).image for d in drawn])


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_every_layout_of_every_kind_of_network(name: str) -> None:
    pytest.importorskip("openvino", reason="the extra 'openvino' brings it")
    net, spec = network(name)
    scans = images(spec)
    maker = Maker(to_onnx(net, spec, {"id": name}))
    maker.ranges = measure(maker.ready, scans, Source(maker.sha256, "drawn"))
    exact = run_onnx(maker.graph, scans)
    for target in WANTED:
        run = maker.make(target).open(threads=1)  # making proves the layout
        for count in (1, 3):
            found = in_batches(run, scans[:count], batch=count)
            assert {k: v.shape for k, v in found.items()} == {k: v[:count].shape for k, v in exact.items()}
        logits = in_batches(run, scans)["logits"]
        worst = np.abs(logits - exact["logits"]).max() / np.abs(exact["logits"]).max()
        assert worst < (0.25 if target.precision is Precision.INT8 else 0.02), target.file


def test_a_binary_network_without_a_map_is_exported_by_the_same_command(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra 'openvino' brings it")
    recipe = load_recipe("cnn3-binary", ["input.width=32", "input.height=32", "cnn.filters=[8, 8, 8]"])
    samples: list[Sample] = []
    for split in ("train", "val", "test"):
        for k in range(10):
            path = tmp_path / f"{split}{k}.png"
            cv2.imwrite(str(path), draw_phantom(PhantomSpec(seed=len(samples), side=64, t2_like=k % 2 == 0)))
            samples.append(Sample(str(path), recipe.data.labels[k % 2], "drawn", path.stem, split))
    for k in range(6):
        samples.append(Sample(samples[k].path, samples[k].label, "drawn", f"again{k}", "train"))
    torch.manual_seed(0)
    facts = {"parameters": 1, "code_version": "0", "data_sha256": digest(samples)}
    save_model(tmp_path / "model.safetensors", build(recipe).state_dict(), recipe, facts)
    request = ExportRequest(
        tmp_path / "model.safetensors",
        tmp_path / "bundle",
        "1",
        samples,
        "drawn",
        targets=targets({Precision.INT8, Precision.FP16}, list(Format), every_format=True),
        limits=Limits(1.0, 1.0, 1.0, 1.0),
    )
    export_bundle(request)
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert manifest.graph.cam is None
    assert manifest.graph.outlier is None
    assert manifest.graph.embedding_size > 0
    assert [a.layout for a in manifest.artifacts] == [None, "u8s8", "ir", "ir", "ir", "ir", "fp16-trt", "s8s8-trt"]
