"""What ``edgebrain export`` does."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgebrain.bundle import MANIFEST, Bundle, built_in_models, open_bundle
from edgebrain.errors import EXIT_OK, ExportError, MissingExtra, TrainingError, UsageError
from edgebrain.types import Precision

from .choices import FormatChoice
from .formats import Format, Target, targets
from .markup import for_people
from .progress import Say, telling
from .weights import REMEDY, check_header

if TYPE_CHECKING:
    from edgebrain.labelled import Sample

    from .contents import Exported
    from .verify import Limits

NEEDS = ("torch", "onnx", "onnxscript", "sympy", "safetensors")
DEFAULT_MODEL = "edge"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Options:
    """The command line, see ``edgebrain export --help``."""

    model: str | None
    output: Path | None
    precisions: frozenset[str]
    formats: frozenset[FormatChoice]
    reduce_range: bool
    float_layers: float | None
    calibration: Path | None
    validation: Path | None
    data: Path | None
    version: str
    data_name: str | None
    calibration_scans: int
    force: bool
    preprocessing: int | None


def require_export(what: str) -> None:
    """Make sure that all that exporting needs is installed, without importing it.

    Args:
        what: Is to be done; for the message.

    Raises:
        MissingExtra: Something is not.
    """
    for module in NEEDS:
        if importlib.util.find_spec(module) is None:
            raise MissingExtra(what, extra="export", module=module)


def run_export(options: Options) -> int:
    """Export a model and print what became of it.

    Raises:
        MissingExtra: The extra ``export`` is not installed, or ``openvino`` where it is needed.
        UsageError: The options make no sense together.
        EdgebrainError: See :func:`edgebrain.export.pipeline.export_bundle` and
            :func:`edgebrain.export.reexport.reexport`.
    """
    wanted = _targets(options)
    require_export("Exporting")
    if any(target.engine == "openvino" for target in wanted) and importlib.util.find_spec("openvino") is None:
        raise MissingExtra("Exporting for OpenVINO", extra="openvino", module="openvino")
    source = _source(options.model)
    with telling() as say:
        if isinstance(source, Bundle):
            exported = _from_bundle(options, source, wanted, say)
        else:
            exported = _from_run(options, source, wanted, say)
    _show(exported)
    return EXIT_OK


def _targets(options: Options) -> tuple[Target, ...]:
    everything = FormatChoice.ALL in options.formats
    formats = [f for f in Format if everything or f.value in {c.value for c in options.formats}]
    wanted = targets(
        {Precision(p) for p in options.precisions}, formats, every_format=everything, reduce_range=options.reduce_range
    )
    if options.float_layers is not None and not any(target.precision is Precision.INT8 for target in wanted):
        raise UsageError("--float-layers is about INT8, which was not asked for.", remedy="Add --int8.")
    return wanted


def _limits(options: Options) -> Limits:
    from .verify import Limits

    return Limits() if options.float_layers is None else Limits(float_layers=options.float_layers)


def _source(model: str | None) -> Bundle | Path:
    """A bundle, or the file with a network's weights."""
    path = Path(model or DEFAULT_MODEL)
    if model is None or model in built_in_models() or (path / MANIFEST).is_file():
        return open_bundle(model or DEFAULT_MODEL)
    if path.is_dir() and not (path / WEIGHTS).is_file():
        raise UsageError(
            f"{path} is neither a training run nor a bundle: it has no {WEIGHTS} and no {MANIFEST}.",
            remedy="Name the folder that 'edgebrain train' wrote, or a bundle.",
        )
    if not path.exists():
        raise UsageError(
            f"There is no run, checkpoint or bundle {str(path)!r}.",
            remedy=f"Bundles that come with edgebrain: {', '.join(built_in_models()) or 'none'}.",
        )
    return path / WEIGHTS if path.is_dir() else path


def _from_bundle(options: Options, bundle: Bundle, wanted: tuple[Target, ...], say: Say) -> Exported:
    from .reexport import ReexportRequest, reexport
    from .scans import calibration_samples, validation_samples

    if options.preprocessing is not None:
        raise UsageError(
            "What a bundle asks for was verified with it, so --preprocessing is for training runs.",
            remedy="Export the run that the bundle was made from.",
        )
    labels = bundle.manifest.labels
    calibration, validation = (path or options.data for path in (options.calibration, options.validation))
    needed = any(target.precision is Precision.INT8 for target in wanted)
    return reexport(
        ReexportRequest(
            bundle=bundle,
            output=options.output or Path(f"{bundle.manifest.id}-bundle"),
            targets=wanted,
            calibration=calibration_samples(calibration, labels) if calibration and needed else None,
            validation=validation_samples(validation, labels) if validation else None,
            calibration_scans=options.calibration_scans,
            force=options.force,
            limits=_limits(options),
            say=say,
        )
    )


def _from_run(options: Options, model: Path, wanted: tuple[Target, ...], say: Say) -> Exported:
    check_header(model)
    from edgebrain.labelled import read_labelled
    from edgebrain.train.config import SPLITS_FILE
    from edgebrain.train.models import load_model

    from .pipeline import ExportRequest, export_bundle
    from .scans import calibration_samples, validation_samples

    try:
        recipe = load_model(model).recipe
    except TrainingError as error:  # there is no training here that could go on: the file is not what it says
        raise ExportError(error.message, remedy=error.remedy or REMEDY) from error
    data = options.data or model.parent / SPLITS_FILE
    if not data.exists():
        raise UsageError(
            f"There is no {data}, which says which scans {model} was trained on.",
            remedy="Give the splits of the training run: --data CSV.",
        )

    def own(path: Path | None, read: Callable[[Path, Sequence[str]], list[Sample]]) -> list[Sample] | None:
        return None if path is None else read(path, recipe.data.labels)

    return export_bundle(
        ExportRequest(
            model=model,
            output=options.output or Path(f"{recipe.name}-bundle"),
            version=options.version,
            samples=read_labelled(data),
            data_name=for_people(options.data_name or data.stem, "--data-name"),
            targets=wanted,
            calibration=own(options.calibration, calibration_samples),
            validation=own(options.validation, validation_samples),
            calibration_scans=options.calibration_scans,
            force=options.force,
            limits=_limits(options),
            preprocessing=options.preprocessing,
            say=say,
        )
    )


def _show(exported: Exported) -> None:
    from rich.console import Console
    from rich.table import Table

    from .gate_report import HEAD, LIMITED
    from .markup import percent, plain

    console = Console(highlight=False)
    table = Table(*HEAD, box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for line in exported.report.table():
        table.add_row(*line)
    console.print(table)
    if exported.evaluations:
        figures = Table("test split", "accuracy", "macro-F1", "ECE", box=None, pad_edge=False)
        for precision, found in exported.evaluations.items():
            figures.add_row(precision, percent(found.accuracy), percent(found.macro_f1), plain(found.calibration.ece))
        console.print(figures)
    if exported.report.limited:
        console.print(LIMITED)
    console.print(f"gate: {exported.report.verdict()}", markup=False)
    for warning in exported.report.warnings:
        console.print(f"warning: {warning}", markup=False)
    console.print(f"bundle: {exported.folder}", markup=False)
