"""Where meta-learning computes: on a GPU when there is one, else on the CPU.

Ordinary training leaves this to Lightning (see processes.py). Here is the one place that chooses for everything else.
What is random does not depend on it: networks are made on the CPU before they move, and episodes are drawn by numpy.
Only what dropout drops differs, and the last digits of sums. Checkpoints are written from CPU memory, so that a run can
go on elsewhere.
"""

from __future__ import annotations

import sys

import torch


def device_for(gpus: int) -> torch.device:
    """The device for a number of GPUs that can be used: the first of them, or the CPU."""
    return torch.device("cuda", 0) if gpus > 0 else torch.device("cpu")


def find_device() -> torch.device:
    """The device to compute on here; the variable ``CUDA_VISIBLE_DEVICES`` chooses a GPU, and none when it is empty."""
    return device_for(torch.cuda.device_count() if torch.cuda.is_available() else 0)


def say_device() -> None:
    """Say on stderr what is computed on: a GPU that is not used would go unnoticed for hours."""
    device = find_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU; torch finds no GPU"
    sys.stderr.write(f"computing on {name}\n")
