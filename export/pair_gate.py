"""Two readers in INT8 against the same two in fp32: what quantisation does to the answers that users get.

The gate of an export judges one file at a time. Which scans a pair reads twice, and what the mean says, depends on both
files, so that a pair is compared as a whole. Nothing is refused here: the second reader has one file, and its user sees
what that costs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edgebrain.bundle import Artifact, Bundle
from edgebrain.classifier import Classifier
from edgebrain.decision import DecisionSpec
from edgebrain.labelled import Sample
from edgebrain.train.data import PreparedSet
from edgebrain.types import Precision

from .held_out import outputs_on, scans_of
from .verify import Comparison, Judge, Limits, Outputs

SPLITS = ("val", "test")
OF_BOTH, BESIDE_SECOND = "gate_of_both", "gate_beside_second"
"""Names of the comparison in the figures of INT8: with both networks in fp32, or with the first in fp32 beside the
second as it is shipped, where nothing else of that is at hand."""
Draft = Callable[[Path, Artifact], None]
"""Writes a bundle of both readers into a folder, the second with this file."""


@dataclass(frozen=True)
class PairGate:
    """Compares both precisions of a pair, once the decision is fitted.

    Attributes:
        first: The bundle that reads every scan.
        second: The bundle of the second reader.
        shipped: The second reader's file that the new bundle gets.
        samples: Labelled scans with splits.
        draft: Writes the pair.
    """

    first: Bundle
    second: Bundle
    shipped: Artifact
    samples: Sequence[Sample]
    draft: Draft

    @property
    def key(self) -> str:
        """What the pair is compared with: one of OF_BOTH and BESIDE_SECOND."""
        return BESIDE_SECOND if _float_file(self.second) is None else OF_BOTH

    def __call__(self, spec: DecisionSpec) -> dict[str, Comparison]:
        """The comparison by split; empty where the first has no fp32 file.

        Args:
            spec: The decision that both precisions are used with.
        """
        if _float_file(self.first) is None:
            return {}
        manifest = self.first.manifest
        negative = None if manifest.negative_label is None else manifest.labels.index(manifest.negative_label)
        found = {split: scans_of(manifest, self.samples, split) for split in SPLITS}
        sets = {split: scans for split, scans in found.items() if scans is not None}
        original = self._outputs(_float_file(self.second) or self.shipped, Precision.FP32, sets)
        other = self._outputs(self.shipped, Precision.INT8, sets)
        return {
            split: Judge(scans.targets, spec, negative, Limits()).compare(original[split], other[split])
            for split, scans in sets.items()
        }

    def _outputs(self, file: Artifact, precision: Precision, sets: Mapping[str, PreparedSet]) -> dict[str, Outputs]:
        with tempfile.TemporaryDirectory(prefix="edgebrain-") as name:
            self.draft(Path(name), file)
            with closing(Classifier.load(name, engine="onnxruntime", precision=precision)) as classifier:
                return {split: outputs_on(classifier.engine, scans) for split, scans in sets.items()}


def _float_file(bundle: Bundle) -> Artifact | None:
    return next((a for a in bundle.artifacts("onnxruntime") if a.precision is Precision.FP32), None)
