"""The ResNet-50 that a run trained, as the benchmark's rival runs it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
import torchvision

from edgebrain.train.config import load_recipe
from edgebrain.train.models import build, save_model

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


def test_the_rival_answers_what_the_trained_network_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    rival = importlib.import_module("rival")
    recipe = load_recipe("resnet50-finetune", ["transfer.weights='none'"])
    torch.manual_seed(0)
    net = build(recipe).eval()
    save_model(tmp_path / "model.safetensors", net.state_dict(), recipe, {})
    plain = torchvision.models.resnet50(weights=None, num_classes=len(rival.LABELS)).eval()
    plain.load_state_dict(rival.trained_weights(tmp_path))
    image = torch.randint(0, 256, (1, 1, 64, 64), dtype=torch.uint8)
    three = (image.float() / 255).expand(-1, 3, -1, -1)
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        torch.testing.assert_close(plain((three - mean) / std), net(image).logits, rtol=1e-4, atol=1e-4)


def test_a_run_of_another_network_is_no_rival(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    rival = importlib.import_module("rival")
    recipe = load_recipe("cnn3-binary")
    save_model(tmp_path / "model.safetensors", build(recipe).state_dict(), recipe, {})
    with pytest.raises(SystemExit, match="trained no ResNet-50"):
        rival.trained_weights(tmp_path)
