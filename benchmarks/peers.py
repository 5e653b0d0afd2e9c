"""What else a user could run: each peer in a process, and where it needs one, an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmark_app import served_rate
from outcome import Findings, Outcome, Series
from plan import Plan
from served import Gone, Served

from edgebrain.bundle import open_bundle
from edgebrain.classifier import Classifier

HERE = Path(__file__).parent
TARGET = 1.0
"""Ahead of every peer."""


@dataclass(frozen=True)
class Peer:
    """One peer.

    Attributes:
        name: Its name in ``peer_child.PEERS``.
        title: What it is, in words.
        modules: What it imports.
        packages: What pip installs for it.
    """

    name: str
    title: str
    modules: tuple[str, ...]
    packages: tuple[str, ...]


_TORCH = ("torch", "torchvision")
PEERS = (
    Peer("ultralytics", "Ultralytics classify, yolo11n-cls", ("ultralytics",), ("ultralytics", "torch")),
    Peer(
        "hugging-face",
        "Hugging Face pipeline, MobileNetV2",
        ("transformers", *_TORCH),
        ("transformers", *_TORCH, "pillow"),
    ),
    Peer("model-api", "OpenVINO model_api, our graph", ("model_api",), ("openvino-model-api", "openvino")),
    Peer("resnet18", "torchvision ResNet-18, eager", (*_TORCH, "PIL"), (*_TORCH, "pillow")),
    Peer("resnet18-compiled", "torchvision ResNet-18, torch.compile", (*_TORCH, "PIL"), (*_TORCH, "pillow")),
    Peer("edge-torch", "our edge network, torch eager", _TORCH, _TORCH),
    Peer("edge-torch-compiled", "our edge network, torch.compile", _TORCH, _TORCH),
    Peer("cnn-tuned", "cnn-tuned, torch eager", _TORCH, _TORCH),
    Peer("cnn-tuned-compiled", "cnn-tuned, torch.compile", _TORCH, _TORCH),
)


class Skipped(Exception):
    """Why a peer is not measured."""


class Server:
    """A peer's process.

    Raises:
        Skipped: The peer cannot run.
    """

    def __init__(self, peer: Peer, plan: Plan, folder: Path) -> None:
        graph = open_bundle(plan.model).folder / Classifier.load(plan.model).choice.artifact.file
        job = {"files": plan.few, "threads": plan.threads, "graph": str(graph)}
        source = folder / f"{peer.name}.json"
        source.write_text(json.dumps({**job, "packages": peer.packages}), encoding="utf-8")
        self._scans = len(plan.few)
        self._served = Served([str(_python(peer, plan)), str(HERE / "peer_child.py"), peer.name, str(source)])
        if "skipped" in self._served.first:
            self.close()
            raise Skipped(str(self._served.first["skipped"]))
        self.versions = str(self._served.first["versions"])

    def round(self) -> float:
        """Scans per second of one round."""
        return self._scans / self._served.seconds()

    def close(self) -> None:
        """End the process."""
        self._served.close()


def _python(peer: Peer, plan: Plan) -> Path:
    """The interpreter of a peer: this one where it has what the peer needs, else the peer's own environment."""
    if all(find_spec(module) for module in peer.modules):
        return Path(sys.executable)
    environment = Path(plan.environments) / peer.name
    python = environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    ready = environment / ".ready"
    if not ready.exists():
        if not plan.install:
            raise Skipped(f"{peer.packages[0]} is not installed; --install makes an environment for it")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.packages]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Skipped(f"pip cannot install {peer.packages[0]}: {reason_of(done.stderr)}")
        ready.touch()
    return python


def reason_of(stderr: str) -> str:
    """Why pip failed: its first error, not the warnings that may come before."""
    lines = [line for line in stderr.splitlines() if line.strip()] or ["no reason given"]
    return next((line for line in lines if line.startswith("ERROR")), lines[-1])


def measure(plan: Plan) -> Findings:
    """Run edgebrain and every peer over the same files, in turn."""
    from floors import seconds
    from steady import classify_all

    classifier = Classifier.load(plan.model, threads=plan.threads, throughput=True)
    outcomes, rows = [], []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "records.jsonl"
        classify_all(classifier, plan.files, output)
        for peer in PEERS:
            try:
                server = Server(peer, plan, Path(folder))
                ours, theirs = [], []
                for _ in range(plan.rival_rounds):
                    ours.append(len(plan.files) / seconds(lambda: classify_all(classifier, plan.files, output)))
                    theirs.append(server.round())
                server.close()
            except (Skipped, Gone) as reason:
                rows.append([peer.title, f"not measured: {reason}"])
                continue
            rows.append([peer.title, server.versions])
            outcomes.append(
                Outcome(
                    peer.title,
                    "edgebrain",
                    "peer",
                    "scans/s",
                    ours,
                    theirs,
                    target=TARGET,
                    at_most=False,
                    rival=peer.title,
                )
            )
    rows.append(["OpenVINO benchmark_app, our graph alone", served_rate(plan)])
    return Findings(
        title="Against other pipelines",
        how=f"{plan.threads} threads on each side, file to label; edgebrain also writes records. The peers' weights "
        "are random, which changes nothing about their time. benchmark_app decodes nothing, and is no pipeline.",
        outcomes=outcomes,
        series=[Series("Versions, and what was not measured", ["peer", "with"], rows)],
    )
