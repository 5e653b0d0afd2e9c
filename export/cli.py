"""``edgebrain export``; torch-free at import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .choices import FormatChoice, PrecisionChoice

DataNameOption = Annotated[
    str | None, typer.Option("--data-name", help="Name of the data in the card; that of the CSV if not given.")
]
LeftOutOption = Annotated[
    list[str] | None,
    typer.Option(
        "--left-out",
        metavar="NAME=JSON",
        help="For the card, which keeps none of the old one: what 'evaluate --json' gave of a model trained "
        "without that source; repeat.",
    ),
]


def mount(app: typer.Typer) -> None:
    """Add the commands of this half to the application."""
    app.command()(export)
    app.command()(heads)
    app.command()(restore)
    app.command()(recalibrate)
    app.command()(pair)


def export(
    *,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN|CHECKPOINT|BUNDLE",
            help="A training run's folder, its model.safetensors, or a bundle (name or folder); the shipped model "
            "'edge' if not given.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Bundle folder to write; NAME-bundle if not given."),
    ] = None,
    precision: Annotated[
        list[PrecisionChoice] | None,
        typer.Option("--precision", help="Arithmetic of a file; again for more. Default: int8."),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Short for --precision int8.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Short for --precision fp16.")] = False,
    formats: Annotated[
        list[FormatChoice] | None, typer.Option("--format", help="What files are for; again for more. Default: onnx.")
    ] = None,
    reduce_range: Annotated[
        bool, typer.Option("--reduce-range", help="Add an INT8 file with 7-bit weights, for CPUs without VNNI.")
    ] = False,
    float_layers: Annotated[
        float | None,
        typer.Option(
            "--float-layers",
            metavar="SHARE",
            min=0,
            max=0.5,
            help="Largest share of an INT8 file's layers that may stay in float where the gate fails, 0.5 at most "
            "and if not given; 0 keeps all in 8 bits.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            metavar="DIR|CSV",
            help="Scans that INT8 is calibrated with; the train split, or the bundle's stored ranges, if not given.",
        ),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            "--validation",
            metavar="DIR|CSV",
            help="Labelled scans for the gate; the val split, or the bundle's golden inputs, if not given.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="CSV", help="Splits: train calibrates, val decides, test judges."),
    ] = None,
    version: Annotated[str, typer.Option("--model-version", help="Version of a trained model.")] = "0.1.0",
    data_name: DataNameOption = None,
    calibration_scans: Annotated[
        int, typer.Option("--calibration-scans", min=16, help="Scans that calibrate INT8.")
    ] = 512,
    force: Annotated[bool, typer.Option("--force", help="Write the bundle although the gate fails.")] = False,
    preprocessing: Annotated[
        int | None,
        typer.Option(
            "--preprocessing",
            metavar="N",
            help="Version of the preprocessing that the bundle asks for and is judged with; the training's by default.",
        ),
    ] = None,
) -> int:
    """Export a model to a verified bundle: ONNX, OpenVINO and TensorRT files in fp32, fp16 and INT8.

    Every file is compared with the fp32 one on scans that it was not calibrated with. Exit code 4 when one is not as
    good.

    Some calls:

      edgebrain export runs/edge --int8 -o bundle/

      edgebrain export --int8 --fp16 --format all --calibration scans/ --validation labelled/
    """
    from edgebrain.export.commands import Options, run_export

    short = ((PrecisionChoice.INT8, int8), (PrecisionChoice.FP16, fp16))
    chosen = {*(precision or ()), *(name for name, wanted in short if wanted)}
    return run_export(
        Options(
            model=model,
            output=output,
            precisions=frozenset(choice.value for choice in chosen),
            formats=frozenset(formats or ()),
            reduce_range=reduce_range,
            float_layers=float_layers,
            calibration=calibration,
            validation=validation,
            data=data,
            version=version,
            data_name=data_name,
            calibration_scans=calibration_scans,
            force=force,
            preprocessing=preprocessing,
        )
    )


def heads(
    *,
    model: Annotated[str, typer.Argument(metavar="NAME|DIR", help="Bundle whose graph has an embedding.")],
    splits: Annotated[
        list[Path],
        typer.Option("--splits", metavar="CSV", help="Splits of the model's training: train, val and test; repeat."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Bundle folder to write; may be the bundle itself.")
    ],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")] = 0,
) -> int:
    """Meta-learn the heads from which 'edgebrain adapt' starts, and pack them into a bundle.

    One for glioma against meningioma, one for tumour against none, as far as the data has them. The graph stays as it
    is; each head is judged on episodes of groups that it never saw.

    Some calls:

      edgebrain heads bundle/ --splits splits.csv -o bundle/
    """
    from edgebrain.export.heads_command import run_heads

    return run_heads(model, splits, output, seed=seed)


def restore(
    *,
    model: Annotated[
        str, typer.Argument(metavar="NAME|DIR", help="Bundle of an 'edge' or EfficientNet-Lite0 network.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="DIR|CSV",
            help="Scans for the statistics of the network; of a CSV with a train split, that split.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The model.safetensors to write.")],
    second_reader: Annotated[
        bool, typer.Option("--second-reader", help="The bundle's second reader instead, from its INT8 weights.")
    ] = False,
) -> int:
    """Make a trained model of a bundle again, to train on from where it stands.

    A hospital's own labelled scans, or a new scanner's, can be added to what the model has learned. The network answers
    as the bundle's graph does, that of a second reader nearly so; how far its logits are away is said.

    Some calls:

      edgebrain restore edge --data splits.csv -o start.safetensors

      edgebrain restore edge --data splits.csv --second-reader -o second.safetensors

      edgebrain train edge --splits splits.csv --set start=start.safetensors -o runs/more
    """
    from edgebrain.export.restore_command import run_restore

    return run_restore(model, data, output, second_reader=second_reader)


def recalibrate(
    *,
    model: Annotated[str, typer.Argument(metavar="NAME|DIR", help="Bundle whose decision is to be fitted anew.")],
    splits: Annotated[
        list[Path],
        typer.Option(
            "--splits", metavar="CSV", help="Labelled scans that the model never saw: val fits, test judges; repeat."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Bundle folder to write; may be the bundle itself.")
    ],
    version: Annotated[
        str | None,
        typer.Option("--model-version", help="Version of the bundle; the old one and '+recalibrated' if not given."),
    ] = None,
    data_name: DataNameOption = None,
    left_out: LeftOutOption = None,
) -> int:
    """Fit a model's temperature, thresholds and outlier limit on scans of the place where it is to work.

    The graphs stay as they are, byte by byte; the figures of the model card are measured anew, but for the comparison
    of INT8 with fp32, which stays the export's. Some hundred labelled scans are enough, an eighth without a tumour.

    Some calls:

      edgebrain audit our-scans/ --fractions 0,0.5,0.5 --splits ours.csv

      edgebrain recalibrate edge --splits ours.csv -o edge-here/
    """
    from edgebrain.export.recalibrate_command import run_recalibrate

    return run_recalibrate(model, splits, output, version, data_name, left_out or ())


def pair(
    *,
    first: Annotated[str, typer.Argument(metavar="NAME|DIR", help="Bundle that reads every scan.")],
    second: Annotated[
        str | None,
        typer.Argument(metavar="DIR", help="Bundle that reads some, too; the first's second reader if not given."),
    ] = None,
    splits: Annotated[
        list[Path],
        typer.Option(
            "--splits", metavar="CSV", help="Labelled scans that neither model saw: val fits, test judges; repeat."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Bundle folder to write; may be that of the first.")
    ],
    share: Annotated[float, typer.Option("--share", help="Share of the val split to read twice for doubt.")] = 0.15,
    negatives: Annotated[
        bool | None,
        typer.Option(
            "--negatives/--no-negatives",
            help="Leave it to the second what the first is sure to be free of tumour, or not. If neither is given, a "
            "second reader that is there keeps its way, and another one is not left it.",
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option("--model-version", help="Version of the bundle; the old one and '+second's name' if not given."),
    ] = None,
    data_name: DataNameOption = None,
    left_out: LeftOutOption = None,
) -> int:
    """Give a model a second reader, or another one: a network that reads some scans, too.

    Both networks err, but on other scans; where the first is in doubt, the mean of both answers. With --negatives the
    second also reads all that the first is sure to be free of tumour, and there its own answer holds; where that is
    another one, the scan is not assessed. The second runs on the CPU, whatever runs the first. Both graphs stay as they
    are, byte by byte; when the second is asked, how much it counts, and the decision are fitted on the val split, and
    the model card is measured anew.

    Some calls:

      edgebrain export runs/edge-second --int8 --reduce-range -o second/

      edgebrain pair edge second/ --splits splits.csv --negatives -o two-readers/
    """
    from edgebrain.export.pair_command import run_pair

    return run_pair(
        first=first,
        second=second,
        splits=splits,
        output=output,
        share=share,
        negatives=negatives,
        version=version,
        data_name=data_name,
        left_out=left_out or (),
    )
