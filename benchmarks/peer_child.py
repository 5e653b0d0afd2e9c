"""Serve rounds of one peer in its own environment. Usage: peer_child.py PEER JOB.json; standard library until then.

It answers each line on standard input with the seconds of one round as a line of JSON; the first line that it writes is
the versions of what it uses, or why it cannot run.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

LABELS = 4
Run = Callable[[Sequence[str]], object]

# Nothing here may ask a network or tell one anything.
QUIET = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def ultralytics(job: dict[str, Any]) -> Run:
    """Ultralytics' classify pipeline, as its documentation calls it; random weights of its smallest network."""
    import torch
    from ultralytics import YOLO  # type: ignore[import-not-found]  # in an environment of its own

    model = YOLO("yolo11n-cls.yaml", task="classify")
    model.predict(job["files"][0], device="cpu", verbose=False)
    torch.set_num_threads(job["threads"])  # its first call leaves one CPU unused
    return lambda files: [model.predict(file, device="cpu", verbose=False) for file in files]


def hugging_face(job: dict[str, Any]) -> Run:
    """Hugging Face's image-classification pipeline around a MobileNetV2 of random weights."""
    import torch
    from transformers import (  # type: ignore[import-not-found]  # in an environment of its own
        MobileNetV2Config,
        MobileNetV2ForImageClassification,
        MobileNetV2ImageProcessor,
        pipeline,
    )

    torch.set_num_threads(job["threads"])
    model = MobileNetV2ForImageClassification(MobileNetV2Config(num_labels=LABELS)).eval()
    classify = pipeline("image-classification", model=model, image_processor=MobileNetV2ImageProcessor(), device="cpu")
    return lambda files: list(classify(list(files), batch_size=8))


def model_api(job: dict[str, Any]) -> Run:
    """OpenVINO's model_api around our own graph: files are decoded with OpenCV, as its documentation does.

    It serves graphs that take pictures of three channels, so that ours gets a step before it that makes them grey.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it would report its own import
    import cv2
    import openvino
    from model_api.models import ClassificationModel  # type: ignore[import-not-found]  # in its own environment
    from openvino.preprocess import ColorFormat, PrePostProcessor

    graph = openvino.Core().read_model(job["graph"])
    graph.reshape([1, *list(graph.input().partial_shape)[1:]])
    steps = PrePostProcessor(graph)
    steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    steps.input().tensor().set_color_format(ColorFormat.BGR)
    steps.input().preprocess().convert_color(ColorFormat.GRAY)
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "graph.xml")
        openvino.save_model(steps.build(), file, compress_to_fp16=False)
        settings = {"device": "CPU", "nthreads": job["threads"], "max_num_requests": job["threads"]}
        model = ClassificationModel.create_model(file, model_type="Classification", **settings)
    return lambda files: [model(cv2.imread(file)) for file in files]


def resnet18(job: dict[str, Any], *, compiled: bool = False) -> Run:
    """A torchvision ResNet-18 as its documentation shows it, with Pillow and its transforms."""
    import torch
    import torchvision
    from torchvision_way import classify

    torch.set_num_threads(job["threads"])
    net = torchvision.models.resnet18(weights=None, num_classes=LABELS).eval()
    run = classify(torch.compile(net) if compiled else net)
    return lambda files: run(files, 1)


def recipe(job: dict[str, Any], name: str, *, compiled: bool = False) -> Run:
    """The network of one of our recipes in torch, random weights, with our reading and preprocessing."""
    import torch

    from edgebrain.preprocessing import prepare
    from edgebrain.readers import read_middle
    from edgebrain.train.config import load_recipe
    from edgebrain.train.models import build

    torch.set_num_threads(job["threads"])
    wanted = load_recipe(name)
    built: Any = build(wanted).eval()
    net = torch.compile(built) if compiled else built

    def run(files: Sequence[str]) -> None:
        with torch.inference_mode():
            for start in range(0, len(files), 8):
                images = [prepare(read_middle(file), wanted.input).image for file in files[start : start + 8]]
                net(torch.stack([torch.from_numpy(image) for image in images]))

    return run


PEERS: dict[str, Callable[[dict[str, Any]], Run]] = {
    "ultralytics": ultralytics,
    "hugging-face": hugging_face,
    "model-api": model_api,
    "resnet18": resnet18,
    "resnet18-compiled": lambda job: resnet18(job, compiled=True),
    "edge-torch": lambda job: recipe(job, "edge"),
    "edge-torch-compiled": lambda job: recipe(job, "edge", compiled=True),
    "cnn-tuned": lambda job: recipe(job, "cnn-tuned"),
    "cnn-tuned-compiled": lambda job: recipe(job, "cnn-tuned", compiled=True),
}


def versions(names: Sequence[str]) -> list[str]:
    """Packages and their versions, as installed here."""
    # A wheel may spell its name with underscores.
    installed = {
        found.name.lower().replace("_", "-"): found.version for found in metadata.distributions() if found.name
    }
    return [f"{name} {installed[name]}" for name in names if name in installed]


def main() -> None:
    """Build the peer, then serve rounds until standard input ends."""
    peer, source = sys.argv[1:]
    job = json.loads(Path(source).read_text(encoding="utf-8"))
    os.environ.update(QUIET)
    os.environ["YOLO_CONFIG_DIR"] = str(Path(source).resolve().parent)  # not in the user's home
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        run = PEERS[peer](job)
        run(job["files"][:8])
    except Exception as error:  # noqa: BLE001 - whatever a foreign library raises is the reason why it is skipped
        answers.write(json.dumps({"skipped": f"{type(error).__name__}: {error}".splitlines()[0][:200]}) + "\n")
        answers.flush()
        return
    answers.write(json.dumps({"versions": ", ".join(versions(job["packages"]))}) + "\n")
    answers.flush()
    for _ in sys.stdin:
        began = time.perf_counter()
        run(job["files"])
        answers.write(json.dumps({"seconds": time.perf_counter() - began}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
