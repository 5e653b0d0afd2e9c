"""A bundle gets a second reader: another network, which reads the scans that the first may be wrong about.

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

from edgebrain import bundle as bundles
from edgebrain.asked import as_asked
from edgebrain.bundle import Artifact, Bundle, HashedFile, SecondReader
from edgebrain.classifier import Classifier
from edgebrain.cpus import usable_cpus
from edgebrain.engines import EngineOptions, open_engine
from edgebrain.engines.two_readers import reader_alone
from edgebrain.errors import UsageError
from edgebrain.folders import real
from edgebrain.labelled import Sample
from edgebrain.place import check_output

from .contents import keep_text
from .formats import Layout
from .held_out import outputs_on, validation_pictures, validation_scans
from .left_out import LeftOut
from .pair_fit import Fit, fit_reader
from .pair_gate import PairGate
from .progress import Say, silent
from .recalibrate import Recalibrated, Recalibration, recalibrate

SHARE = 0.15
"""Share of held-out scans that the second reader is asked about for doubt, where nothing else is wanted."""
_PREFIX = "second."
_Entry = TypeVar("_Entry", Artifact, HashedFile)


@dataclass(frozen=True)
class Pairing:
    """Which two bundles, and what to fit with.

    Attributes:
        first: The bundle that reads every scan; a second reader that it has already is replaced.
        second: The bundle of the other network; None keeps the second reader that the first has.
        samples: Labelled scans with splits: val fits, test judges. None of them may have trained either network.
        output: Bundle folder to write; may be that of the first.
        share: Share of the val split that is to be read twice for doubt.
        negatives: Whether it is left to the second what the first is sure to be negative; None keeps what holds for
            the second reader that is there, and leaves nothing to another one.
        version: Of the new bundle; that of the first and ``+`` the name of the second if None.
        data_name: Name of the data for people, in the card.
        left_out: Models that were trained without one of the sources, for the card.
        say: Told what is being done.
    """

    first: str | Path
    second: str | Path | None
    samples: Sequence[Sample]
    output: Path
    share: float = SHARE
    negatives: bool | None = None
    version: str | None = None
    data_name: str = "own scans"
    left_out: tuple[LeftOut, ...] = ()
    say: Say = silent


@dataclass(frozen=True)
class Paired:
    """What was fitted, and the bundle's new decision and figures."""

    fit: Fit
    measured: Recalibrated


def pair(request: Pairing) -> Paired:
    """Write a bundle of two readers.

    Raises:
        UsageError: The two are not for the same labels and input or the same network, one has an adapted head, the
            second has no INT8 file with 7-bit weights, the share is out of range, negatives are wanted of models that
            have no negative label, a split has no scans, or the output is something else or the second bundle.
        EdgebrainError: A bundle or the scans cannot be used.
    """
    check_output(request.output)
    if not 0 < request.share <= 1:
        raise UsageError(f"The share of scans to read twice must lie above 0 and up to 1, not be {request.share:g}.")
    given = bundles.open_bundle(request.first)
    first, second = given.first_alone(), _second(given, request)
    _check(first, second)
    artifact = _file_of(second)
    negative = _negative(given, request)
    samples = as_asked(request.samples, first.manifest.labels)
    request.say("reading validation scans")
    scans = validation_scans(first.manifest, samples)
    pictures = validation_pictures(first.manifest, samples)
    request.say("asking both readers")
    with closing(Classifier.load(first.folder, engine="onnxruntime", second_reader=False)) as classifier:
        mine = outputs_on(classifier.engine, scans)["logits"]
        others = None if pictures is None else outputs_on(classifier.engine, pictures)["logits"]
    with closing(open_engine(second, artifact, EngineOptions(threads=usable_cpus()), "onnxruntime")) as engine:
        its = outputs_on(engine, scans)["logits"]
    fit = fit_reader(mine, its, scans.targets, others, request.share, negative)
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


def _second(first: Bundle, request: Pairing) -> Bundle:
    """The bundle of the second network, or what the first holds of it."""
    if request.second is not None:
        bundle = bundles.open_bundle(request.second).first_alone()
        if real(request.output) == real(bundle.folder):
            raise UsageError(f"{request.output} is the second bundle.", remedy="Name another folder with --output.")
        return bundle
    own = first.manifest.second_reader
    if own is None:
        raise UsageError(
            f"{first.folder} has no second reader.", remedy="Name the bundle of one: edgebrain pair FIRST SECOND."
        )
    alone = reader_alone(first, own)
    trained_on = first.manifest.provenance.get("second_reader_training_data_sha256", "unknown")
    named = msgspec.structs.replace(
        alone.manifest,
        id=own.id,
        version=own.version,
        provenance={"training_data_sha256": trained_on},
    )
    return Bundle(first.folder, named)


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


def _negative(first: Bundle, request: Pairing) -> int | None:
    """Index of the label that is left to the second; None where none is."""
    manifest = first.manifest
    own = manifest.second_reader if request.second is None else None
    if not (own is not None and own.negatives if request.negatives is None else request.negatives):
        return None
    if manifest.negative_label is None:
        raise UsageError(
            f"{manifest.id} has no label that means no tumour, so no negatives to read twice.",
            remedy="Leave out --negatives.",
        )
    return manifest.labels.index(manifest.negative_label)


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
        negatives=fit.negatives,
        golden=None if golden is None else _renamed(golden),
    )
    provenance = {
        **first.manifest.provenance,
        "second_reader": f"{theirs.id} {theirs.version}, {fit.describe()}",
        "second_reader_training_data_sha256": theirs.provenance.get("training_data_sha256", "unknown"),
    }
    bundles.write_manifest(folder, msgspec.structs.replace(first.manifest, second_reader=reader, provenance=provenance))


def _renamed(entry: _Entry) -> _Entry:
    name = entry.file.removeprefix("model.").removeprefix(_PREFIX)
    return msgspec.structs.replace(entry, file=f"{_PREFIX}{name}")
