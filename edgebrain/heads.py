"""Heads: a linear layer on a graph's embedding, kept in a small file beside the graph.

A head is what changes when a model is adapted to other classes on the device: the graph's own weights stay, so its
files, its hashes and its measured numerics stay too. The embedding is standardised and brought to length one first,
so that steps of gradient descent have the same size whatever the network's scale.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebrain.arrays import read_arrays
from edgebrain.types import Float32, Float64

_LEAST = 1e-12
_HEADERS = 1 << 16  # bytes that the four arrays may take beside their numbers


@dataclass(frozen=True)
class Head:
    """The numbers of a head.

    Attributes:
        mean: float64 [D], what is taken from the embedding.
        scale: float64 [D], above 0, what it is divided by then.
        weight: float64 [K, D].
        bias: float64 [K].
    """

    mean: Float64
    scale: Float64
    weight: Float64
    bias: Float64

    def features(self, embedding: Float32 | Float64) -> Float64:
        """Standardised embeddings of length one, float64 [N, D]; an embedding equal to the mean stays zero."""
        centred = (embedding.astype(np.float64) - self.mean) / self.scale
        length = np.sqrt(np.einsum("nd,nd->n", centred, centred))
        result: Float64 = centred / np.maximum(length, _LEAST)[:, np.newaxis]
        return result

    def logits(self, embedding: Float32 | Float64) -> Float64:
        """Logits, float64 [N, K]; a scan's are the same in any batch."""
        # einsum goes row by row; a matrix product may round differently for another batch size.
        result: Float64 = np.einsum("nd,kd->nk", self.features(embedding), self.weight) + self.bias
        return result


def write_head(head: Head) -> bytes:
    """The bytes of a head's file; no pickle."""
    buffer = io.BytesIO()
    np.savez(buffer, mean=head.mean, scale=head.scale, weight=head.weight, bias=head.bias)
    return buffer.getvalue()


def parse_head(data: bytes, ways: int, size: int) -> Head:
    """A head from the bytes of its file.

    Args:
        data: Verified bytes.
        ways: Number of labels K it must have.
        size: Size of the embedding D it must be made for.

    Raises:
        ValueError: It is no such head; the text says why.
    """
    numbers = 2 * size + ways * (size + 1)
    arrays = read_arrays(data, limit=numbers * np.dtype(np.float64).itemsize + _HEADERS)
    fault = _fault(arrays, ways, size)
    if fault is not None:
        raise ValueError(fault)
    return Head(arrays["mean"], arrays["scale"], arrays["weight"], arrays["bias"])


def _fault(arrays: dict[str, np.ndarray[Any, Any]], ways: int, size: int) -> str | None:
    shapes = {"mean": (size,), "scale": (size,), "weight": (ways, size), "bias": (ways,)}
    if set(arrays) != set(shapes):
        return f"its arrays are {', '.join(sorted(arrays)) or 'none'}"
    for name, shape in shapes.items():
        values = arrays[name]
        if values.dtype != np.float64 or values.shape != shape:
            return f"{name} is {values.dtype} {values.shape}, not float64 {shape}"
        if not np.isfinite(values).all():
            return f"{name} is not finite"
    return None if (arrays["scale"] > 0).all() else "scale is not above 0"
