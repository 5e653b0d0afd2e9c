"""Which processes share a training, on one machine or several."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from edgebrain.errors import TrainingError, UsageError

_RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK")
"""Where torchrun, Slurm and Lightning's own launcher say which process this is; the first one is 0 in all of them."""


@dataclass(frozen=True)
class Machines:
    """What a training runs on.

    Attributes:
        devices: Processes on each machine, one a GPU where there are GPUs; 0 is what torchrun started, else one.
        nodes: Machines; 0 is what torchrun started, else one.
    """

    devices: int = 0
    nodes: int = 0


def is_first() -> bool:
    """Say whether this is the process that writes and prints; torch-free, and right before any process group exists."""
    return all(int(os.environ.get(name) or 0) == 0 for name in _RANKS)


def trainer_options(machines: Machines) -> dict[str, Any]:
    """Options of the Lightning trainer for a number of processes; gradients are averaged over them (DDP).

    Batch normalisation sees the batches of all processes on GPUs; on CPUs, where the library cannot, each its own.

    Raises:
        UsageError: There are fewer GPUs than processes asked for.
    """
    import torch

    # Lightning's own launcher sets WORLD_SIZE too, but not how many of them are here: the options say it there.
    local = int(os.environ.get("LOCAL_WORLD_SIZE") or 0)
    started = int(os.environ.get("WORLD_SIZE") or 1) // local if local else 1
    devices, nodes = machines.devices or local or 1, machines.nodes or started
    if devices * nodes == 1:
        return {"accelerator": "auto", "devices": 1}
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if 0 < gpus < devices:
        raise UsageError(f"This machine has {gpus} GPUs, not {devices}.", remedy=f"Use --devices {gpus}.")
    return {
        "accelerator": "gpu" if gpus else "cpu",
        "devices": devices,
        "num_nodes": nodes,
        "strategy": "ddp",
        "sync_batchnorm": gpus > 0,
        "use_distributed_sampler": False,  # batches are divided here, or a resume would draw others
    }


def check_precision(precision: str) -> None:
    """Refuse arithmetic that this machine does not have.

    Raises:
        TrainingError: ``16-mixed`` without a GPU.
    """
    import torch

    if precision == "16-mixed" and not torch.cuda.is_available():
        raise TrainingError(
            "The precision 16-mixed needs a GPU, and there is none.",
            remedy="Use --set trainer.precision=bf16-mixed, or 32-true.",
        )
