"""What a bundle is filled with: graphs, golden outputs, calibration ranges, and what the manifest says of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgebrain import bundle as bundles
from edgebrain.evaluation.measure import Evaluation
from edgebrain.phantom import SAMPLES, draw_phantom
from edgebrain.preprocessing import prepare
from edgebrain.selftest import Golden, write_golden
from edgebrain.types import Image8, InputSpec, Scan

from .formats import Layout
from .gate import Row
from .gate_report import Report
from .make import Made
from .ranges import FILE, Ranges, write_ranges
from .to_onnx import in_batches
from .verify import Outputs

GOLDEN = "golden.npz"
_OWN_GOLDEN = frozenset({Layout.U8S8_REDUCED, Layout.S8S8_TRT, Layout.FP16_TRT})
"""Layouts whose golden outputs are also kept under their own name: they differ from the CPU file of their precision."""


@dataclass(frozen=True)
class Exported:
    """A written bundle, its figures by precision, and the gate's report."""

    folder: Path
    evaluations: dict[str, Evaluation]
    report: Report


def write_graphs(folder: Path, rows: Sequence[Row]) -> list[bundles.Artifact]:
    """Write files into a bundle.

    Returns:
        Their entries; weights that are a file of their own come right behind their graph.
    """
    artifacts = []
    for made in (row.made for row in rows):
        artifacts.append(_write(folder / made.target.file, made.data, made))
        if made.weights is not None:
            artifacts.append(_write((folder / made.target.file).with_suffix(".bin"), made.weights, made))
    return artifacts


def _write(path: Path, data: bytes, made: Made) -> bundles.Artifact:
    path.write_bytes(data)
    hashed = bundles.describe_file(path)
    target = made.target
    layout = None if target.layout is None else target.layout.value
    return bundles.Artifact(path.name, target.engine, target.precision, hashed.sha256, hashed.bytes, layout)


def add_golden(golden: Golden, rows: Sequence[Row]) -> None:
    """Add what files give on the golden inputs, one image at a time, as a single scan runs.

    Args:
        golden: The inputs, and outputs that are there already; those of a precision that is made anew are replaced.
        rows: The files. The first one of a precision speaks for it; a layout with a name of its own, if need be.
    """
    told: set[str] = set()
    for row in rows:
        target = row.made.target
        names = {target.precision.value} - told
        if target.layout in _OWN_GOLDEN and target.layout is not None:
            # Other files of the precision, kept ones too, are tested against its outputs: they are not this file's.
            names = {target.layout.value, *(names - set(golden.logits))}
        else:
            told |= names
        outputs = in_batches(row.made.open(threads=1), golden.images, batch=1)
        for name in names:
            golden.logits[name] = outputs["logits"]
            if "outlier" in outputs:
                golden.outlier[name] = outputs["outlier"]


def store_golden(folder: Path, golden: Golden) -> bundles.HashedFile:
    """Write the golden file."""
    (folder / GOLDEN).write_bytes(write_golden(golden))
    return bundles.describe_file(folder / GOLDEN)


def store_ranges(folder: Path, ranges: Ranges | None) -> bundles.HashedFile | None:
    """Write the calibration ranges, where there are any."""
    if ranges is None:
        return None
    (folder / FILE).write_bytes(write_ranges(ranges))
    return bundles.describe_file(folder / FILE)


def golden_inputs(spec: InputSpec) -> Image8:
    """The prepared phantoms that every bundle is tested with, uint8 [N, 1, H, W]."""
    return np.stack([prepare(Scan(draw_phantom(s), "<phantom>"), spec).image for s in SAMPLES])


def graph_spec(outputs: Outputs) -> bundles.GraphSpec:
    """Names of what the graph really gives."""
    embedding, cam, outlier = (name if name in outputs else None for name in ("embedding", "cam", "outlier"))
    size = 0 if embedding is None else int(outputs[embedding].shape[1])
    return bundles.GraphSpec(embedding=embedding, cam=cam, outlier=outlier, embedding_size=size)


def calibration_facts(report: Report) -> dict[str, Any]:
    """What the manifest's provenance says of the calibration; nothing where there is no INT8 file."""
    ranges = report.ranges
    if ranges is None:
        return {}
    kept = sorted({name for row in report.rows for name in row.float_layers})
    return {
        "calibration_sha256": ranges.data_sha256,
        "calibration_scans": ranges.scans,
        **({"layers_in_float": ", ".join(kept)} if kept else {}),
    }


def keep_changelog(output: Path, folder: Path) -> None:
    """Copy the history of the model, which is written by people, from the bundle that is about to be replaced.

    Raises:
        InvalidManifest: It is a link, not a regular file or too large.
    """
    keep_text(output / bundles.CHANGELOG, folder)


def keep_text(earlier: Path, folder: Path) -> None:
    """Copy a text of a bundle, where there is one; see :func:`keep_changelog`."""
    if os.path.lexists(earlier):
        (folder / earlier.name).write_text(bundles.read_text(earlier), encoding="utf-8", newline="")
