"""A graph whose doubtful answers another graph reads, too: double reading, as radiologists do, at little more than one.

Two networks of other make and training err on other scans, so that the mean of their logits is right more often than
either (Hansen & Salamon, "Neural network ensembles", IEEE TPAMI 1990). Where the first is sure, the second hardly ever
changes the answer, so only scans whose two best labels are close are read twice (docs/decisions/0021).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from edgebrain.bundle import Bundle, SecondReader
from edgebrain.engines.base import Engine, EngineInfo
from edgebrain.engines.outputs import closed
from edgebrain.errors import EngineFailed
from edgebrain.types import Float32, Image8

Flags = npt.NDArray[np.bool_]


def in_doubt(logits: Float32, margin: float) -> Flags:
    """Where the best label leads the next one by less than ``margin``.

    Args:
        logits: float32 [N, K], K at least 2.
        margin: In units of the logits.

    Returns:
        bool [N]; true also where a logit is no number.
    """
    ordered = np.sort(logits, axis=-1)
    sure: Flags = ordered[:, -1] - ordered[:, -2] >= np.float32(margin)
    return ~sure


def read_together(first: Float32, second: Float32, weight: float) -> Float32:
    """The weighted mean of two networks' logits.

    Args:
        first: float32 [N, K].
        second: float32 [N, K].
        weight: Share of the second, 0 to 1.

    Returns:
        float32 [N, K].
    """
    share = np.float32(weight)
    mean: Float32 = (np.float32(1) - share) * first + share * second
    return mean


def reader_alone(bundle: Bundle, second: SecondReader) -> Bundle:
    """The second reader of a bundle as a model of its own, with the decision of the bundle."""
    manifest = msgspec.structs.replace(
        bundle.manifest,
        graph=second.graph,
        artifacts=(second.artifact,),
        golden=second.golden,
        calibration=None,
        heads=(),
        second_reader=None,
    )
    return Bundle(bundle.folder, manifest)


class TwoReaders:
    """Runs a graph, and another one on the images that it is in doubt about.

    Images that both read go to the second one by one: how many there are in a batch is chance, and memory for the most
    that there could be would be taken in the middle of a run.

    Args:
        first: The graph's engine; closed with this one.
        open_second: Opens the other graph; called once, when it is first needed, so that sure scans do not wait for it.
        spec: When it is asked, and how much it counts.
    """

    def __init__(self, first: Engine, open_second: Callable[[], Engine], spec: SecondReader) -> None:
        self._first = first
        self._open_second = open_second
        self._spec = spec
        self._second: Engine | None = None
        self._closed = False
        self._lock = threading.Lock()

    @property
    def info(self) -> EngineInfo:
        """What really runs the first graph."""
        return self._first.info

    def run(self, images: Image8) -> dict[str, Float32]:
        """Run the graph, and the other where it is in doubt; see :class:`~edgebrain.engines.base.Engine`.

        Returns:
            The first graph's outputs, with what both make of doubtful images in ``logits`` and ``outlier``, and
            ``readers`` [N]: 2 for those, 1 for the others.

        Raises:
            EngineFailed: One of the engines broke, or they give logits of different shapes.
        """
        outputs = dict(self._first.run(images))
        asked = in_doubt(outputs["logits"], self._spec.margin)
        outputs["readers"] = asked.astype(np.float32) + np.float32(1)
        if asked.any():
            second = self._opened()
            found = [second.run(images[i : i + 1]) for i in np.flatnonzero(asked)]
            for role in ("logits", "outlier"):
                if role in outputs:
                    outputs[role] = self._both(role, outputs[role], asked, found)
        return outputs

    def _both(self, role: str, values: Float32, asked: Flags, found: list[dict[str, Float32]]) -> Float32:
        """One output of the first graph, with what both make of the images that were asked about."""
        others = np.concatenate([one[role] for one in found])
        mine = values[asked]
        if others.shape != mine.shape:
            raise EngineFailed(f"{self._spec.artifact.file} gives {role} {others.shape} instead of {mine.shape}.")
        result: Float32 = values.copy()
        if role == "logits":
            result[asked] = read_together(mine, others, self._spec.weight)
        else:  # each may find a picture strange; that the first is in doubt counts against it, too
            result[asked] = np.maximum(mine, others) + np.float32(self._spec.outlier_shift)
        return result

    def _opened(self) -> Engine:
        with self._lock:
            if self._closed:
                raise closed()
            if self._second is None:
                self._second = self._open_second()
            return self._second

    def close(self) -> None:
        """Give memory back."""
        self._first.close()
        with self._lock:
            self._closed = True
            second, self._second = self._second, None
        if second is not None:
            second.close()
