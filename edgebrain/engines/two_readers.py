"""A graph some of whose scans another graph reads, too: double reading, as radiologists do.

Two networks of other make and training err on other scans, so that the mean of their logits is right more often than
either (Hansen & Salamon, "Neural network ensembles", IEEE TPAMI 1990). Where the first is sure, the second hardly ever
changes the answer, so scans whose two best labels are close are read twice (docs/decisions/0021). A bundle may ask for
more: that nothing is called negative by the first network alone. What it is sure of in that way is then for the second
one to say (docs/decisions/0030).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from edgebrain.bundle import Artifact, Bundle, HashedFile, HeadSpec, SecondReader
from edgebrain.engines.base import Engine, EngineInfo, EngineOptions
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
    with np.errstate(invalid="ignore"):  # of two infinities, which is a doubt
        sure: Flags = ordered[:, -1] - ordered[:, -2] >= np.float32(margin)
    return ~sure


def called(logits: Float32, label: int) -> Flags:
    """Where a label is the best.

    Args:
        logits: float32 [N, K].
        label: Its index.

    Returns:
        bool [N]; false where a logit is not finite: that is no answer, and must not be replaced by one.
    """
    best: Flags = (logits.argmax(axis=-1) == label) & np.isfinite(logits).all(axis=-1)
    return best


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


def left_to_second(logits: Float32, doubtful: Flags, negative: int | None) -> Flags:
    """Where the first network gives the negative label without a doubt.

    Args:
        logits: float32 [N, K] of the first network.
        doubtful: bool [N], see :func:`in_doubt`.
        negative: Index of the negative label; None leaves the second nothing.

    Returns:
        bool [N].
    """
    return np.zeros(len(logits), bool) if negative is None else called(logits, negative) & ~doubtful


def answer_of_both(first: Float32, second: Float32, weight: float, left: Flags) -> Float32:
    """The logits of scans that both have read: the second's where that is left to it, else the mean.

    Args:
        first: float32 [N, K].
        second: float32 [N, K].
        weight: See :func:`read_together`.
        left: bool [N], see :func:`left_to_second`.

    Returns:
        float32 [N, K].
    """
    return np.where(left[:, np.newaxis], second, read_together(first, second, weight))


def reader_alone(bundle: Bundle, second: SecondReader) -> Bundle:
    """The second reader of a bundle as a model of its own, with the bundle's decision and no provenance."""
    manifest = msgspec.structs.replace(
        bundle.manifest,
        graph=second.graph,
        artifacts=(second.artifact,),
        golden=second.golden,
        calibration=None,
        heads=(),
        second_reader=None,
        provenance={},
    )
    return Bundle(bundle.folder, manifest)


def paired(
    bundle: Bundle, first: Engine, options: EngineOptions, open_file: Callable[[Bundle, Artifact], Engine]
) -> TwoReaders:
    """Put the second reader of a bundle beside an engine that runs the first.

    Its file is verified now, and opened when it is first needed: for one scan, opening it would take a tenth of the
    whole time. Where many scans are to come it is opened now, so that neither a fault nor memory comes in the middle of
    a run.

    Args:
        bundle: Has a second reader.
        first: Runs the first graph.
        options: How that runs.
        open_file: Opens a file of a bundle.

    Raises:
        BundleError: The file is not what the manifest says.
        EngineFailed: It was opened now, and cannot be run.
    """
    second = bundle.manifest.second_reader
    assert second is not None
    alone = _Verified(reader_alone(bundle, second), second.artifact)
    manifest = bundle.manifest
    negative = None if manifest.negative_label is None else manifest.labels.index(manifest.negative_label)
    engine = TwoReaders(
        first,
        lambda: open_file(alone, second.artifact),
        second,
        len(manifest.labels),
        negative if second.negatives else None,
    )
    if options.streams > 1:
        engine.open_second()
    return engine


class _Verified(Bundle):
    """A bundle of which one file was read and verified before it is opened: what is opened is what was verified."""

    def __init__(self, bundle: Bundle, entry: Artifact) -> None:
        super().__init__(bundle.folder, bundle.manifest)
        self._entry = entry
        self._data = bundle.read(entry)

    def read(self, entry: Artifact | HashedFile | HeadSpec) -> bytes:
        return self._data if entry == self._entry else super().read(entry)


class TwoReaders:
    """Runs a graph, and another one on the images that it may be wrong about.

    Images that both read go to the second one by one: how many there are in a batch is chance, and memory for the most
    that there could be would be taken in the middle of a run.

    Args:
        first: The graph's engine; closed with this one.
        opener: Opens the other graph; called once.
        spec: When it is asked, and how much it counts.
        ways: Number of labels.
        negative: Index of the label that is the second's to confirm; None where it is asked about doubts alone.
    """

    def __init__(
        self,
        first: Engine,
        opener: Callable[[], Engine],
        spec: SecondReader,
        ways: int,
        negative: int | None = None,
    ) -> None:
        self._first = first
        self._opener: Callable[[], Engine] | None = opener
        self._spec = spec
        self._ways = ways
        self._negative = negative
        self._second: Engine | None = None
        self._lock = threading.Lock()

    @property
    def info(self) -> EngineInfo:
        """What really runs the first graph."""
        return self._first.info

    def run(self, images: Image8) -> dict[str, Float32]:
        """Run the graph, and the other on what it is asked about; see :class:`~edgebrain.engines.base.Engine`.

        Returns:
            The first graph's outputs, with what both make of those images in ``logits`` and ``outlier``, and
            ``readers`` [N]: 2 for those, 1 for the others. Where negatives are left to the second, ``contradicted``
            [N] is 1 where the first is sure of one and the second does not find it, and 0 for all others.

        Raises:
            EngineFailed: One of the engines broke, or gives logits of another shape, or the second numbers that are
                none.
        """
        outputs = dict(self._first.run(images))
        logits = outputs["logits"]
        if logits.shape != (len(images), self._ways):
            raise EngineFailed(f"The first network gives logits {logits.shape} instead of {(len(images), self._ways)}.")
        doubtful = in_doubt(logits, self._spec.margin)
        left = left_to_second(logits, doubtful, self._negative)
        asked = doubtful | left
        outputs["readers"] = asked.astype(np.float32) + np.float32(1)
        if asked.any():
            second = self.open_second()
            found = [second.run(images[i : i + 1]) for i in np.flatnonzero(asked)]
            mine, others = logits[asked], self._others("logits", logits[asked], found)
            outputs["logits"] = _replaced(logits, asked, answer_of_both(mine, others, self._spec.weight, left[asked]))
            if "outlier" in outputs:
                scores = outputs["outlier"]
                strangest = np.maximum(scores[asked], self._others("outlier", scores[asked], found))
                # Each may find a picture strange; that the first is in doubt counts against it, too.
                shift = doubtful[asked] * np.float32(self._spec.outlier_shift)
                outputs["outlier"] = _replaced(scores, asked, strangest + shift)
        if self._negative is not None:
            outputs["contradicted"] = (left & ~called(outputs["logits"], self._negative)).astype(np.float32)
        return outputs

    def _others(self, role: str, mine: Float32, found: list[dict[str, Float32]]) -> Float32:
        """One output of the second graph, of the same images as the first's."""
        others = np.concatenate([one[role] for one in found])
        file = self._spec.artifact.file
        if others.shape != mine.shape:
            raise EngineFailed(f"{file} gives {role} {others.shape} instead of {mine.shape}.")
        if not np.isfinite(others).all():
            raise EngineFailed(
                f"The second reader {file} gives {role} that are not finite.",
                remedy="Check it on this machine: edgebrain doctor",
            )
        return others

    def open_second(self) -> Engine:
        """The other graph, opened if it is not open yet.

        Raises:
            EngineFailed: It cannot be run, or this engine was closed.
        """
        with self._lock:
            if self._second is None:
                if self._opener is None:
                    raise closed()
                self._second = self._opener()
                self._opener = None  # it holds the file's bytes
            return self._second

    def close(self) -> None:
        """Give memory back."""
        self._first.close()
        with self._lock:
            second, self._second, self._opener = self._second, None, None
        if second is not None:
            second.close()


def _replaced(values: Float32, where: Flags, by: Float32) -> Float32:
    result: Float32 = values.copy()
    result[where] = by
    return result
