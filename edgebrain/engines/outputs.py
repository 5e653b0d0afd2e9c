"""What every engine checks of graphs and images, so that all refuse alike."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from edgebrain.bundle import Artifact, GraphSpec, Manifest
from edgebrain.errors import EngineFailed
from edgebrain.types import Image8


def roles_of(graph: GraphSpec) -> dict[str, str]:
    """Role to name of every output that the manifest names."""
    roles = {"logits": graph.logits, "embedding": graph.embedding, "cam": graph.cam, "outlier": graph.outlier}
    return {role: name for role, name in roles.items() if name is not None}


def check_graph(manifest: Manifest, artifact: Artifact, outputs: Collection[str], *, fits: bool) -> None:
    """Refuse a graph that is not what the manifest says.

    Args:
        manifest: What is expected.
        artifact: The file.
        outputs: Names of the graph's outputs.
        fits: Whether its only input has the name, type and shape that are expected, with a free batch size.

    Raises:
        EngineFailed: It is another graph.
    """
    spec = manifest.input
    if not fits:
        raise EngineFailed(
            f"{artifact.file} does not take one uint8 input {manifest.graph.input!r} "
            f"[N, 1, {spec.height}, {spec.width}]."
        )
    missing = sorted(set(roles_of(manifest.graph).values()) - set(outputs))
    if missing:
        raise EngineFailed(f"{artifact.file} has no output {', '.join(missing)}.")


def check_images(images: Image8, height: int, width: int, engine: str) -> None:
    """Refuse what would be silently converted.

    Raises:
        EngineFailed: The images are not uint8 [N, 1, height, width] with N of at least 1.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (1, height, width) or not len(images):  # noqa: PLR2004 - N, C, H, W
        raise EngineFailed(
            f"{engine} cannot run {images.dtype} {images.shape}; the graph takes uint8 (N, 1, {height}, {width})."
        )


def closed() -> EngineFailed:
    """What a closed engine says."""
    return EngineFailed("The engine was closed; it cannot run any more.", remedy="Load the model again.")
