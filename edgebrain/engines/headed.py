"""An engine whose logits come from a head of the bundle instead of the graph."""

from __future__ import annotations

import numpy as np

from edgebrain.bundle import Bundle, HeadSpec
from edgebrain.engines.base import Engine, EngineInfo
from edgebrain.errors import EngineFailed, InvalidManifest
from edgebrain.heads import Head, parse_head
from edgebrain.types import Float32, Image8


def read_head(bundle: Bundle, spec: HeadSpec) -> Head:
    """A head of a bundle, verified.

    Raises:
        InvalidManifest: The file is missing, or not what it should be.
        HashMismatch: It was changed.
    """
    data = bundle.read(spec)
    try:
        return parse_head(data, len(spec.labels), bundle.manifest.graph.embedding_size)
    except ValueError as error:
        raise InvalidManifest(
            f"{bundle.folder / spec.file} holds no head: {error}.", remedy="Install or copy the bundle again."
        ) from error


class HeadedEngine:
    """Runs a graph, and a head on its embedding.

    Args:
        engine: The graph's engine; closed with this one.
        head: The head.
    """

    def __init__(self, engine: Engine, head: Head) -> None:
        self._engine = engine
        self._head = head

    @property
    def info(self) -> EngineInfo:
        """What really runs."""
        return self._engine.info

    def run(self, images: Image8) -> dict[str, Float32]:
        """Run the graph and the head; see :class:`~edgebrain.engines.base.Engine`.

        Raises:
            EngineFailed: The engine broke, or gives no embedding of the head's size.
        """
        outputs = self._engine.run(images)
        embedding = outputs.get("embedding")
        if embedding is None or embedding.shape != (len(images), self._head.mean.size):
            found = "nothing" if embedding is None else embedding.shape
            raise EngineFailed(f"The graph gives embedding {found} instead of {(len(images), self._head.mean.size)}.")
        # The activation map belongs to the graph's own labels.
        kept = {role: values for role, values in outputs.items() if role != "cam"}
        return {**kept, "logits": self._head.logits(embedding).astype(np.float32)}

    def close(self) -> None:
        """Give memory back."""
        self._engine.close()
