"""A bundle gets a second reader: another network, which reads the scans that the first is in doubt about.

The graphs of both stay as they are, byte by byte. When the second is asked, and how much it counts, are numbers of the
manifest that held-out scans fit; then everything is measured anew, as after :mod:`edgebrain.export.recalibrate`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from edgebrain import bundle as bundles
from edgebrain.asked import as_asked
from edgebrain.bundle import Artifact, Bundle, HashedFile, SecondReader
from edgebrain.calibration import fit_temperature, negative_log_likelihood
from edgebrain.classifier import Classifier
from edgebrain.decision import probabilities_of
from edgebrain.engines.two_readers import Flags, in_doubt, read_together
from edgebrain.errors import UsageError
from edgebrain.folders import real
from edgebrain.labelled import Sample
from edgebrain.place import check_output
from edgebrain.types import Float32

from .contents import keep_text
from .formats import Layout
from .held_out import outputs_on, validation_pictures, validation_scans
from .left_out import LeftOut
from .pair_gate import PairGate
from .progress import Say, silent
from .recalibrate import Recalibrated, Recalibration, recalibrate

SHARE = 0.15
"""Share of held-out scans that the second reader is asked about, where nothing else is wanted."""
MOST_SHIFT = 1.1
"""Largest shift of an outlier logit: a limit of 0.03 becomes one of 0.01. Doubt alone would earn more, but scans that
were changed on their way are in doubt more often, too (docs/decisions/0021)."""
_WEIGHTS = np.arange(1, 20) / 20
_PREFIX = "second."
_Entry = TypeVar("_Entry", Artifact, HashedFile)


@dataclass(frozen=True)
class Pairing:
    """Which two bundles, and what to fit with.

    Attributes:
        first: The bundle that reads every scan; a second reader that it has already is replaced.
        second: The bundle whose network is asked where the first is in doubt.
        samples: Labelled scans with splits: val fits, test judges. None of them may have trained either network.
        output: Bundle folder to write; may be that of the first.
        share: Share of the val split that is to be read twice.
        version: Of the new bundle; that of the first and ``+`` the name of the second if None.
        data_name: Name of the data for people, in the card.
        left_out: Models that were trained without one of the sources, for the card.
        say: Told what is being done.
    """

    first: str | Path
    second: str | Path
    samples: Sequence[Sample]
    output: Path
    share: float = SHARE
    version: str | None = None
    data_name: str = "own scans"
    left_out: tuple[LeftOut, ...] = ()
    say: Say = silent


@dataclass(frozen=True)
class Fit:
    """When the second reader is asked, how much it counts, and what that did to the scans that it was fitted on.

    Attributes:
        margin: See :class:`~edgebrain.bundle.SecondReader`.
        weight: See there.
        outlier_shift: See there.
        scans: How many scans fitted both.
        asked: How many of them are read twice.
        right: How many the first network alone is right on.
        right_together: How many are right with the second reader.
    """

    margin: float
    weight: float
    outlier_shift: float
    scans: int
    asked: int
    right: int
    right_together: int

    def describe(self) -> str:
        """All of it in words."""
        return (
            f"asked about {self.asked} of {self.scans} validation scans (margin {self.margin:g}, weight "
            f"{self.weight:g}, outlier shift {self.outlier_shift:g}); {self.right_together} of them right, "
            f"{self.right} without it"
        )


@dataclass(frozen=True)
class Paired:
    """What was fitted, and the bundle's new decision and figures."""

    fit: Fit
    measured: Recalibrated


def pair(request: Pairing) -> Paired:
    """Write a bundle of two readers.

    Raises:
        UsageError: The two are not for the same labels and input or the same network, one has an adapted head, the
            second has no INT8 file with 7-bit weights, the share is out of range, a split has no scans, or the output
            is something else or the second bundle.
        EdgebrainError: A bundle or the scans cannot be used.
    """
    check_output(request.output)
    if not 0 < request.share <= 1:
        raise UsageError(f"The share of scans to read twice must lie above 0 and up to 1, not be {request.share:g}.")
    first = bundles.open_bundle(request.first).first_alone()
    second = bundles.open_bundle(request.second).first_alone()
    if real(request.output) == real(second.folder):
        raise UsageError(f"{request.output} is the second bundle.", remedy="Name another folder with --output.")
    _check(first, second)
    artifact = _file_of(second)
    samples = as_asked(request.samples, first.manifest.labels)
    request.say("reading validation scans")
    scans = validation_scans(first.manifest, samples)
    pictures = validation_pictures(first.manifest, samples)
    request.say("asking both readers")
    with closing(Classifier.load(first.folder, engine="onnxruntime", second_reader=False)) as classifier:
        mine = outputs_on(classifier, scans)[0]
        others = None if pictures is None else outputs_on(classifier, pictures)[0]
    with closing(
        Classifier.load(second.folder, engine="onnxruntime", precision=artifact.layout, second_reader=False)
    ) as classifier:
        its = outputs_on(classifier, scans)[0]
    fit = fit_reader(mine, its, scans.targets, others, request.share)
    version = request.version or f"{first.manifest.version.partition('+')[0]}+{second.manifest.id}"
    with tempfile.TemporaryDirectory(prefix="edgebrain-") as folder:
        _write(Path(folder), first, second, artifact, fit)
        gate = PairGate(first, second, artifact, samples, lambda to, file: _write(to, first, second, file, fit))
        done = recalibrate(
            Recalibration(
                folder,
                request.samples,
                request.output,
                version,
                request.data_name,
                request.left_out,
                request.say,
                gate,
            )
        )
    return Paired(fit, done)


def fit_reader(
    first: Float32, second: Float32, targets: npt.NDArray[np.int64], pictures: Float32 | None, share: float
) -> Fit:
    """Fit when a second reader is asked, and how much it counts.

    It is asked about the scans whose two best labels are closest. Its weight is the one at which the mean of both is
    most likely, at the temperature that suits the mean, over all scans: those that would be asked are too few. The
    shift of the outlier logit is the logarithm of how much more often the first is in doubt about other pictures than
    about scans, the likelihood ratio that a doubt adds to the odds, up to MOST_SHIFT.

    Args:
        first: float32 [N, K] logits of the first network on scans that neither was trained on.
        second: float32 [N, K] of the second.
        targets: int64 [N].
        pictures: float32 [M, K] of the first on pictures that are no brain MRI; None where there are none.
        share: Share of the scans to read twice, above 0.

    Returns:
        The fit.
    """

    def loss(weight: float) -> float:
        mean = read_together(first, second, weight)
        return negative_log_likelihood(
            probabilities_of(mean, fit_temperature(mean.astype(np.float64), targets)), targets
        )

    weight = float(min(_WEIGHTS, key=loss))
    ordered = np.sort(first, axis=1)
    # Four digits, rounded up: at least the share is asked, and the manifest stays legible.
    margin = max(float(np.quantile(ordered[:, -1] - ordered[:, -2], share)), 0.0)
    margin = float(np.ceil(margin * 1e4 + 1) / 1e4)
    asked = in_doubt(first, margin)
    together = np.where(asked[:, np.newaxis], read_together(first, second, weight), first)
    return Fit(
        margin=margin,
        weight=weight,
        outlier_shift=0.0 if pictures is None else _shift(in_doubt(pictures, margin), asked),
        scans=len(targets),
        asked=int(asked.sum()),
        right=int((first.argmax(1) == targets).sum()),
        right_together=int((together.argmax(1) == targets).sum()),
    )


def _shift(pictures: Flags, scans: Flags) -> float:
    # One more of each kind on both sides, so that no ratio is without bounds.
    often, seldom = ((flags.sum() + 1) / (len(flags) + 2) for flags in (pictures, scans))
    return round(min(max(float(np.log(often / seldom)), 0.0), MOST_SHIFT), 4)


def _check(first: Bundle, second: Bundle) -> None:
    one, other = first.manifest, second.manifest
    if {a.sha256 for a in one.artifacts} & {a.sha256 for a in other.artifacts}:
        raise UsageError(
            f"{first.folder} and {second.folder} hold the same network, which errs on the same scans.",
            remedy="Pair two networks of other training.",
        )
    for manifest in (one, other):
        if manifest.head is not None:
            raise UsageError(
                f"{manifest.id} {manifest.version} has an adapted head.",
                remedy="Pair the bundle that it was adapted from; an adapted model has no second reader.",
            )
    for name, mine, its in (
        ("labels", (one.labels, one.negative_label), (other.labels, other.negative_label)),
        ("input", one.input, other.input),
    ):
        if mine != its:
            raise UsageError(
                f"{one.id} and {other.id} differ in their {name}: {mine} and {its}.",
                remedy="Train and export both with the same labels, size and preprocessing.",
            )
    if (one.graph.outlier is None) != (other.graph.outlier is None):
        lacking = other.id if other.graph.outlier is None else one.id
        raise UsageError(
            f"{lacking} has no outlier output, and the other one has.", remedy="Train both with data.outliers, or none."
        )


def _file_of(second: Bundle) -> Artifact:
    """The file with 7-bit weights: sums of its products fit on every CPU, and there is no other file to turn to."""
    found = [a for a in second.artifacts("onnxruntime") if a.layout == Layout.U8S8_REDUCED.value]
    if not found:
        raise UsageError(
            f"{second.folder} has no INT8 file with 7-bit weights, the one kind that runs alike on every CPU.",
            remedy=f"Make one: edgebrain export {second.folder} --int8 --reduce-range -o DIR",
        )
    return found[0]


def _write(folder: Path, first: Bundle, second: Bundle, artifact: Artifact, fit: Fit) -> None:
    """Write the draft that is then measured: the first bundle's files, and the second's under names of their own."""
    for entry in bundles.files_of(first.manifest):
        (folder / entry.file).write_bytes(first.read(entry))
    for text in bundles.TEXTS:
        keep_text(first.folder / text, folder)
    theirs = second.manifest
    (folder / _renamed(artifact).file).write_bytes(second.read(artifact))
    golden = theirs.golden
    if golden is not None:
        (folder / _renamed(golden).file).write_bytes(second.read(golden))
    reader = SecondReader(
        id=theirs.id,
        version=theirs.version,
        artifact=_renamed(artifact),
        graph=theirs.graph,
        margin=fit.margin,
        weight=fit.weight,
        outlier_shift=fit.outlier_shift,
        golden=None if golden is None else _renamed(golden),
    )
    provenance = {
        **first.manifest.provenance,
        "second_reader": f"{theirs.id} {theirs.version}, {fit.describe()}",
        "second_reader_training_data_sha256": theirs.provenance.get("training_data_sha256", "unknown"),
    }
    bundles.write_manifest(folder, msgspec.structs.replace(first.manifest, second_reader=reader, provenance=provenance))


def _renamed(entry: _Entry) -> _Entry:
    name = entry.file.removeprefix("model.")
    return msgspec.structs.replace(entry, file=f"{_PREFIX}{name}")
