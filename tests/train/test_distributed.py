from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from edgebrain.errors import TrainingError, UsageError
from edgebrain.labelled import Sample, write_samples
from edgebrain.train import checkpoint, learner
from edgebrain.train import fit as fitting
from edgebrain.train.config import DataConfig, Recipe, load_recipe
from edgebrain.train.data import MixedSampler, PreparedSet, prepare_samples, select
from edgebrain.train.loading import DividedBatches, Place, training_loader, validation_loader
from edgebrain.train.processes import Machines, is_first, trainer_options

Samples = tuple[Sample, ...]

PLAIN = """
import torch
from torch import nn
from edgebrain.train import fit as fitting, learner
from edgebrain.train.edge import EdgeOutput

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(1, 4, 5, stride=4)
        self.head = nn.Linear(4 * 15 * 15, 4)

    def forward(self, images):
        maps = torch.tanh(self.conv(images.float() / 255))
        return EdgeOutput(self.head(maps.flatten(1)), None, None, None)

learner.fresh = fitting.build = lambda recipe: Plain()
"""
"""A network without batch normalisation and chance, in the place of the recipe's."""

ONE_OF_TWO = """
import sys
from pathlib import Path
from edgebrain.labelled import read_labelled
from edgebrain.train.config import load_recipe

manifest, folder, *sets = sys.argv[1:]
run = fitting.fit(load_recipe("edge-base", sets), read_labelled(manifest), Path(folder), threads=1)
print(sorted(run.metrics))
"""

SETS = (
    "augment.style=none",
    "optimizer.name=sgd",
    "optimizer.lr=0.5",
    "optimizer.momentum=0",
    "optimizer.weight_decay=0",
    "optimizer.clip=0",
    "optimizer.ema_decay=0",
    "schedule.name=constant",
    "trainer.epochs=2",
)


@pytest.fixture
def plain(tiny_sets: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trains the plain network in this process; one step of plain gradient descent an epoch."""
    scope: dict[str, object] = {}
    monkeypatch.setattr(learner, "fresh", vars(learner)["fresh"])
    monkeypatch.setattr(fitting, "build", vars(fitting)["build"])
    exec(PLAIN, scope)  # noqa: S102 - the same lines as in the other processes
    return [*tiny_sets, *SETS, "trainer.batch_size=16"]


def weights(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = checkpoint.load(folder / "checkpoints" / "last.ckpt")["state_dict"]
    return found


def assert_close(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert torch.allclose(tensor, right[name], rtol=0, atol=2e-6), name


def test_parts_of_a_batch_give_the_gradient_of_the_whole(phantoms: Samples, plain: list[str], tmp_path: Path) -> None:
    whole = fitting.fit(load_recipe("edge-base", plain), phantoms, tmp_path / "whole", threads=1)
    divided = load_recipe("edge-base", [*plain, "trainer.accumulate=4"])
    parts = fitting.fit(divided, phantoms, tmp_path / "parts", threads=1)
    assert_close(weights(whole.folder), weights(parts.folder))
    fresh = vars(learner)["fresh"](divided).state_dict()
    moved = weights(whole.folder)["net.head.weight"] - fresh["head.weight"]
    assert float(moved.abs().max()) > 1e-3
    logs = [(run.folder / "log" / "metrics.csv").read_text().splitlines()[1:] for run in (whole, parts)]
    losses = [[[float(cell) for cell in row.split(",")[2:4]] for row in log] for log in logs]
    assert np.allclose(losses[0], losses[1], atol=1e-5)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def environment(rank: int, port: int) -> dict[str, str]:
    """What torchrun sets."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
    }


def test_two_processes_give_the_gradient_of_one(phantoms: Samples, plain: list[str], tmp_path: Path) -> None:
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this build of the tensor library has no gloo")
    manifest, folder, port = tmp_path / "splits.csv", tmp_path / "two", free_port()
    write_samples(manifest, phantoms)
    code = [sys.executable, "-c", PLAIN + ONE_OF_TWO, str(manifest), str(folder), *plain]
    two = [
        subprocess.Popen(
            code, env=environment(rank, port), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=180) for process in two]
    finally:
        for process in two:
            process.kill()
    assert [process.returncode for process in two] == [0, 0], said
    # The first process alone has figures, and says how far it is.
    assert "splits" in said[0][0]
    assert said[1][0].strip() == "[]"
    assert [err.count("epoch 2/2") for _, err in said] == [1, 0]

    one = fitting.fit(load_recipe("edge-base", plain), phantoms, tmp_path / "one", threads=1)
    assert_close(weights(one.folder), weights(folder))
    names = [sorted(p.name.split(".")[0] for p in run.rglob("*")) for run in (one.folder, folder)]
    assert names[0] == names[1]
    rows = [(run / "log" / "metrics.csv").read_text().splitlines() for run in (one.folder, folder)]
    assert len(rows[0]) == len(rows[1]) == 3
    for left, right in zip(rows[0][1:], rows[1][1:], strict=True):
        # train/loss, val/loss and val/accuracy count every scan once, whichever process saw it
        assert np.allclose(
            [float(c) for c in left.split(",")[2:6]], [float(c) for c in right.split(",")[2:6]], atol=1e-5
        )


def made_of(scans: int) -> PreparedSet:
    samples = tuple(Sample(f"{i}.png", "") for i in range(scans))
    return PreparedSet(np.zeros((scans, 8, 8), np.uint8), np.arange(scans) % 2, samples, ())


@given(
    scans=st.integers(8, 60),
    size=st.integers(1, 3),
    parts=st.integers(1, 3),
    count=st.integers(1, 4),
    epoch=st.integers(0, 9),
)
def test_processes_share_every_batch(scans: int, size: int, parts: int, count: int, epoch: int) -> None:
    sampler = MixedSampler(made_of(scans), DataConfig(labels=("a", "b"), balance=0), 5)
    sampler.set_epoch(epoch)
    batch = size * parts * count
    whole = [draw.place for draw in sampler]
    shares = [list(DividedBatches(sampler, batch, parts, Place(rank, count))) for rank in range(count)]
    assert {len(share) for share in shares} == {scans // batch * parts}
    assert all(len(part) == size for share in shares for part in share)
    for k in range(scans // batch):
        drawn = [d.place for share in shares for part in share[k * parts : (k + 1) * parts] for d in part]
        assert sorted(drawn) == sorted(whole[k * batch : (k + 1) * batch])


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("edge-base", ["trainer.batch_size=8", 'data.labels=["a", "b"]', "trainer.accumulate=2"])


def test_every_scan_is_validated_by_one_process(recipe: Recipe) -> None:
    rows = [loader.dataset.indices for r in range(3) for loader in [validation_loader(recipe, made_of(8), Place(r, 3))]]  # type: ignore[attr-defined] # a Subset
    assert sorted(i for part in rows for i in part) == list(range(8))
    with pytest.raises(TrainingError, match="2 validation scans cannot be shared by 3 processes"):
        validation_loader(recipe, made_of(2), Place(0, 3))


def test_a_batch_that_cannot_be_divided_is_refused(recipe: Recipe) -> None:
    with pytest.raises(UsageError, match=r"batch of 8 cannot .* 2 parts for 3 processes.*multiple of 6"):
        training_loader(recipe, made_of(40), Place(0, 3))


def test_what_torchrun_started_is_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert is_first()
    assert trainer_options(Machines()) == {"accelerator": "auto", "devices": 1}
    assert trainer_options(Machines(devices=2, nodes=3))["num_nodes"] == 3
    monkeypatch.setenv("WORLD_SIZE", "6")
    # As in a process that Lightning itself started for --devices 6.
    options = trainer_options(Machines(devices=6))
    assert (options["devices"], options["num_nodes"]) == (6, 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    options = trainer_options(Machines())
    assert (options["devices"], options["num_nodes"], options["accelerator"]) == (2, 3, "cpu")
    monkeypatch.setenv("NODE_RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert not is_first()


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert trainer_options(Machines(devices=2))["sync_batchnorm"] is True
    with pytest.raises(UsageError, match="has 2 GPUs, not 3"):
        trainer_options(Machines(devices=3))


@pytest.mark.parametrize(("architecture", "refused"), [("edge", True), ("cnn3", False)])
def test_parts_of_one_scan_are_refused_where_they_are_normalised(
    architecture: str, refused: bool, phantoms: tuple[Sample, ...], tiny_sets: Sequence[str]
) -> None:
    sets = [*tiny_sets, "trainer.batch_size=8", "trainer.accumulate=8", f"architecture={architecture}"]
    recipe = load_recipe("edge-base", sets)
    prepared = prepare_samples(select(phantoms, "train", recipe.data), recipe.data.labels, recipe.input, 72)
    if refused:
        with pytest.raises(UsageError, match=r"one scan.*batch_size 16 or more"):
            training_loader(recipe, prepared)
    else:
        assert len(training_loader(recipe, prepared)[0]) == 16
