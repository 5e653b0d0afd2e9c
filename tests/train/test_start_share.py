from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgebrain.labelled import Sample
from edgebrain.train.config import Recipe, load_recipe
from edgebrain.train.fit import fit
from edgebrain.train.models import load_model

Samples = tuple[Sample, ...]

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_weights_that_are_kept_lie_between_the_start_and_what_was_learned(
    tiny_sets: tuple[str, ...], phantoms: Samples, tmp_path: Path
) -> None:
    start = fit(load_recipe("edge", [*tiny_sets, "trainer.epochs=1"]), phantoms, tmp_path / "start", threads=1).model

    def weights(share: float) -> dict[str, torch.Tensor]:
        sets = [*tiny_sets, "trainer.epochs=2", f"start={start}", f"start_share={share}"]
        run = fit(load_recipe("edge", sets), phantoms, tmp_path / f"run-{share}", threads=1)
        found: dict[str, torch.Tensor] = load_model(run.model).net.state_dict()
        return found

    first, learned, between = load_model(start).net.state_dict(), weights(0.0), weights(0.25)
    assert any(not torch.equal(first[name], learned[name]) for name in first)
    for name, value in between.items():
        expected = 0.75 * learned[name] + 0.25 * first[name] if value.is_floating_point() else learned[name]
        torch.testing.assert_close(value, expected)


def test_without_a_start_a_share_of_it_changes_nothing(
    tiny: Recipe, tiny_sets: tuple[str, ...], phantoms: Samples, tmp_path: Path
) -> None:
    shared = load_recipe("edge", [*tiny_sets, "start_share=0.5"])
    runs = [fit(recipe, phantoms, tmp_path / str(i), threads=1) for i, recipe in enumerate((tiny, shared))]
    one, other = (load_model(run.model).net.state_dict() for run in runs)
    assert all(torch.equal(one[name], other[name]) for name in one)
