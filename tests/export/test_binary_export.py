"""A binary model is exported with splits that name kinds of tumour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("torch", reason="the extra 'export' brings torch")
pytest.importorskip("onnx", reason="the extra 'export' brings onnx")

from edgebrain.asked import as_asked
from edgebrain.export import pipeline
from edgebrain.export.pipeline import ExportRequest, export_bundle
from edgebrain.export.scans import validation_samples
from edgebrain.labelled import Sample, write_samples
from edgebrain.train.data import digest
from edgebrain.train.models import TrainedModel, build, save_model

BINARY = ("no_tumor", "tumor")


def test_scans_for_the_gate_have_the_labels_that_the_model_asks_for(samples: list[Sample], tmp_path: Path) -> None:
    write_samples(tmp_path / "s.csv", samples)
    assert Counter(s.label for s in validation_samples(tmp_path / "s.csv", BINARY)) == {"no_tumor": 3, "tumor": 9}


@pytest.mark.parametrize("labelled", [list, lambda samples: as_asked(samples, BINARY)], ids=["given", "asked"])
def test_the_splits_of_a_run_are_its_data_however_labelled(
    trained: TrainedModel,
    samples: list[Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    labelled: Callable[[list[Sample]], list[Sample]],
) -> None:
    replace = msgspec.structs.replace
    recipe = replace(
        trained.recipe, data=replace(trained.recipe.data, labels=BINARY), model=replace(trained.recipe.model, labels=2)
    )
    facts = {**trained.facts, "data_sha256": digest(samples, BINARY)}
    save_model(tmp_path / "model.safetensors", build(recipe).state_dict(), recipe, facts)
    read: list[Sample] = []

    class Reached(Exception):
        pass

    def stop(chosen: list[Sample], *_: Any) -> None:
        read.extend(chosen)
        raise Reached

    monkeypatch.setattr(pipeline, "prepare_samples", stop)
    monkeypatch.setattr(pipeline, "to_onnx", lambda *_: b"")
    with pytest.raises(Reached):
        export_bundle(ExportRequest(tmp_path / "model.safetensors", tmp_path / "out", "1", labelled(samples), "drawn"))
    assert Counter(s.label for s in read) == {"no_tumor": 3, "tumor": 9}
