"""Checkpoints without pickle: one safetensors file that holds tensors, and everything else as JSON in its header.

A training checkpoint is a tree of dicts, lists, tuples, numbers, strings and tensors. Tensors go into the file by a
running name; the rest becomes JSON in which a reference stands in each tensor's place. Files are written under a
temporary name and renamed, so a crash leaves the previous checkpoint whole.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.plugins import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from edgebrain.errors import TrainingError

FORMAT = "edgebrain-checkpoint/1"

Tree = Any
"""dict, list, tuple, int, float, str, bool, None or Tensor, nested."""


def encode(tree: Tree, tensors: dict[str, Tensor]) -> Any:
    """Turn a tree into JSON types, moving its tensors into ``tensors``.

    Raises:
        TrainingError: The tree holds something that cannot be written without pickle.
    """
    if isinstance(tree, Tensor):
        name = f"t{len(tensors)}"
        # A clone, because safetensors refuses tensors that share memory.
        tensors[name] = tree.detach().cpu().contiguous().clone()
        return {"$tensor": name}
    if isinstance(tree, dict):
        return {"$dict": [[encode(k, tensors), encode(v, tensors)] for k, v in tree.items()]}
    if isinstance(tree, tuple):
        return {"$tuple": [encode(v, tensors) for v in tree]}
    if isinstance(tree, list):
        return [encode(v, tensors) for v in tree]
    if isinstance(tree, Path | np.generic):
        tree = str(tree) if isinstance(tree, Path) else tree.item()
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TrainingError(f"A checkpoint cannot hold a {type(tree).__name__}.")


def decode(data: Any, tensors: dict[str, Tensor]) -> Tree:
    """The inverse of :func:`encode`."""
    if isinstance(data, list):
        return [decode(v, tensors) for v in data]
    if not isinstance(data, dict):
        return data
    kind, value = next(iter(data.items()))
    if kind == "$tensor":
        return tensors[value]
    if kind == "$tuple":
        return tuple(decode(v, tensors) for v in value)
    return {decode(k, tensors): decode(v, tensors) for k, v in value}


def save(path: Path, tree: Tree) -> None:
    """Write a checkpoint atomically.

    Args:
        path: File to write; replaced if it exists.
        tree: What to keep.

    Raises:
        TrainingError: It cannot be written (the disk is full, for instance), or the tree cannot be encoded.
    """
    tensors: dict[str, Tensor] = {}
    header = json.dumps(encode(tree, tensors), allow_nan=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.touch()
            mode = temporary.stat().st_mode
            save_file(tensors, temporary, {"format": FORMAT, "tree": header})
            temporary.chmod(mode)  # safetensors would keep it to its owner
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"Checkpoint {path} cannot be written: {error}.", remedy="The previous checkpoint is untouched."
        ) from error


def load(path: Path) -> Tree:
    """Read a checkpoint.

    Raises:
        TrainingError: The file is missing, damaged, or no checkpoint of ours.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"Checkpoint {path} cannot be read: {error}.") from error
    if metadata.get("format") != FORMAT:
        raise TrainingError(f"{path} is a safetensors file, but not a checkpoint of edgebrain.")
    try:
        return decode(json.loads(metadata["tree"]), tensors)
    except (KeyError, TypeError, ValueError, StopIteration, RecursionError) as error:
        raise TrainingError(f"Checkpoint {path} is damaged.") from error


class SafetensorsIO(CheckpointIO):
    """Lets the Lightning trainer save and resume through this module instead of pickle."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a trainer checkpoint."""
        del storage_options
        save(Path(path), checkpoint)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a trainer checkpoint; never executes anything from the file."""
        del map_location, weights_only
        tree: dict[str, Any] = load(Path(path))
        return tree

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a trainer checkpoint."""
        Path(path).unlink(missing_ok=True)
