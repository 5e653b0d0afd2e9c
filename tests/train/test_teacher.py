from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgebrain.errors import TrainingError
from edgebrain.train.config import Recipe, load_recipe
from edgebrain.train.learner import FitModule
from edgebrain.train.lite import InvertedResidual, LiteNet
from edgebrain.train.models import build, load_model, save_model
from edgebrain.train.shapes import LiteConfig
from edgebrain.train.teacher import folded, load_teacher


@pytest.fixture
def trained(tiny_sets: tuple[str, ...], tmp_path: Path) -> Path:
    recipe = load_recipe("edge-base", list(tiny_sets))
    torch.manual_seed(0)
    save_model(tmp_path / "teacher.safetensors", build(recipe).state_dict(), recipe, {})
    return tmp_path / "teacher.safetensors"


def student(tiny_sets: tuple[str, ...], teacher: Path | str, *items: str) -> Recipe:
    return load_recipe("edge", [*tiny_sets, f"distill.teacher={teacher}", *items])


def images(count: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_a_recipe_without_a_teacher_has_none(tiny: Recipe) -> None:
    assert load_teacher(tiny) is None


def test_it_answers_as_the_network_does(tiny_sets: tuple[str, ...], trained: Path) -> None:
    teach = load_teacher(student(tiny_sets, trained))
    assert teach is not None
    logits = teach(images())
    assert (logits.dtype, tuple(logits.shape), logits.requires_grad) == (torch.float32, (3, 4), False)
    torch.testing.assert_close(logits, load_model(trained).net(images()).logits.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(teach(images().float()), logits, atol=0, rtol=0)


def test_several_answer_together_with_the_mean_of_their_logits(
    tiny_sets: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    recipe = load_recipe("edge-base", list(tiny_sets))
    torch.manual_seed(1)
    other = tmp_path / "other.safetensors"
    save_model(other, build(recipe).state_dict(), recipe, {})
    together = load_teacher(student(tiny_sets, f'["{trained}", "{other}"]'))
    assert together is not None
    alone = [load_model(path).net(images()).logits.detach() for path in (trained, other)]
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)
    torch.testing.assert_close(together(images()), (alone[0] + alone[1]) / 2, atol=1e-5, rtol=1e-5)
    with pytest.raises(TrainingError, match=r"no teacher .*gone\.safetensors"):
        load_teacher(student(tiny_sets, f'["{trained}", "gone.safetensors"]'))


def test_it_is_no_part_of_the_student(tiny_sets: tuple[str, ...], trained: Path, tiny: Recipe) -> None:
    taught, alone = FitModule(student(tiny_sets, trained), 10, {}), FitModule(tiny, 10, {})
    assert taught.teach is not None
    assert taught.state_dict().keys() == alone.state_dict().keys()
    assert len(list(taught.parameters())) == len(list(alone.parameters()))


@pytest.mark.filterwarnings("ignore:.*self.log.*")  # there is no trainer
def test_the_student_learns_from_it(tiny_sets: tuple[str, ...], trained: Path) -> None:
    targets = load_model(trained).net(images(8)).logits.argmax(1)
    losses = []
    for weight in (0.0, 0.9):
        torch.manual_seed(2)
        recipe = student(tiny_sets, trained, f"distill.weight={weight}", "augment.mixup=0", "model.dropout=0")
        module = FitModule(recipe, 10, {})
        losses.append(float(module.training_step((images(8), targets), 0).detach()))
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_a_missing_teacher_is_named_with_the_way_to_one(tiny_sets: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no teacher .*gone\.safetensors.*edgebrain train teacher"):
        load_teacher(student(tiny_sets, tmp_path / "gone.safetensors"))


@pytest.mark.parametrize(
    "labels",
    [
        ("meningioma", "glioma", "no_tumor", "pituitary"),
        ("glioma", "meningioma", "no_tumor", "other"),
    ],
)
def test_a_teacher_with_other_labels_is_refused(
    tiny_sets: tuple[str, ...], trained: Path, labels: tuple[str, ...]
) -> None:
    recipe = student(tiny_sets, trained, f"data.labels={list(labels)}")
    with pytest.raises(TrainingError, match=rf"knows glioma, meningioma, no_tumor, pituitary, .*{', '.join(labels)}"):
        load_teacher(recipe)


def test_a_checkpoint_of_something_else_is_refused(tiny_sets: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"no model")
    with pytest.raises(TrainingError, match="cannot be read"):
        load_teacher(student(tiny_sets, tmp_path / "bad.safetensors"))


def test_folding_leaves_no_normalisation_and_the_answers() -> None:
    torch.manual_seed(3)
    net = LiteNet(4, LiteConfig(blocks=(1, 1, 1), frozen=0)).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics as training leaves them, not those of the start
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    with torch.no_grad():
        expected = net(images()).logits
        found = folded(net)(images()).logits
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())
    assert any(isinstance(module, InvertedResidual) for module in net.modules())
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
