"""``export_report.json`` and ``export_report.md``: what was made, from what, and how it compares."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebrain.errors import GateFailed

from .gate import Row
from .markup import table
from .ranges import Ranges
from .verify import Comparison

NAME = "export_report"
LIMITED = (
    "The gate was limited: no held-out scans were given, and the files were compared on the bundle's drawn golden "
    "inputs only. That shows that the files work, not how accurate they are."
)
_NOTE = (
    "Milliseconds are of one image on one thread of the machine that exported; files for TensorRT are compiled on the "
    "device, and were judged on ONNX Runtime, node by node as they stand."
)
HEAD = ("file", "MB", "ms", "accuracy", "flips", "verdict")


@dataclass(frozen=True)
class Parity:
    """The float file against the network that it came from.

    Attributes:
        images: How many inputs were compared.
        largest_difference: Of any output, relative to its largest value.
        top1: Share of inputs with the same best label.
    """

    images: int
    largest_difference: float
    top1: float


@dataclass(frozen=True)
class Report:
    """Everything that is said of an export.

    Attributes:
        model: Name and version.
        labels: Labels in the order of the logits.
        rows: The files.
        ranges: The calibration, where there is an INT8 file.
        parity: Against the network; None where the export started from a bundle.
        validation: Digest of the scans of the gate; None where it was limited.
    """

    model: str
    labels: Sequence[str]
    rows: Sequence[Row]
    ranges: Ranges | None
    parity: Parity | None
    validation: str | None

    @property
    def failures(self) -> list[str]:
        """Every broken limit, with its file."""
        return [f"{row.made.target.file}: {text}" for row in self.rows for text in row.failures]

    @property
    def limited(self) -> bool:
        """Whether the gate had golden inputs only."""
        return any(row.comparison is not None and row.comparison.limited for row in self.rows)

    def refuse_failures(self, *, force: bool) -> None:
        """Stop when the gate fails.

        Raises:
            GateFailed: It fails, and force was not given.
        """
        if self.failures and not force:
            raise GateFailed(
                f"The gate fails: {'; '.join(self.failures)}.",
                remedy="Use more calibration scans, or --force to write the bundle with this failure in it.",
            )

    def verdict(self) -> str:
        """The gate in a few words, for the manifest."""
        if all(row.comparison is None for row in self.rows):
            return "not needed"
        if self.failures:
            return f"FAILED: {'; '.join(self.failures)}"
        scans = max(row.comparison.scans for row in self.rows if row.comparison is not None)
        return "passed on golden inputs only" if self.limited else f"passed on {scans} scans"

    @property
    def warnings(self) -> list[str]:
        """What the gate's scans cannot show, in sentences; a limited gate says for itself what it is."""
        found = next((row.comparison for row in self.rows if row.comparison is not None), None)
        if found is None or found.limited:
            return []
        missing = [name for name, recall in zip(self.labels, found.recall, strict=True) if recall is None]
        few = found.scans < found.scans_wanted
        return [
            *(
                [f"The gate has no scan of {', '.join(missing)}: what this file loses there is not known."]
                if missing
                else []
            ),
            *(
                [f"The gate has {found.scans} scans; its strictest limit is one scan in {found.scans_wanted}."]
                if few
                else []
            ),
        ]

    def table(self) -> list[list[str]]:
        """A line per file, under HEAD."""
        return [_line(row) for row in self.rows]

    def write(self, folder: Path) -> None:
        """Write both files into a bundle."""
        (folder / f"{NAME}.json").write_text(json.dumps(self._tree(), indent=2) + "\n", encoding="utf-8")
        (folder / f"{NAME}.md").write_text(self._text(), encoding="utf-8")

    def _tree(self) -> dict[str, Any]:
        ranges = self.ranges
        return {
            "schema": 1,
            "model": self.model,
            "verdict": self.verdict(),
            "limited": self.limited,
            "warnings": self.warnings,
            "validation_sha256": self.validation,
            "calibration": None if ranges is None else {"scans": ranges.scans, "data_sha256": ranges.data_sha256},
            "parity": None if self.parity is None else vars(self.parity),
            "files": [
                {
                    "file": row.made.target.file,
                    "engine": row.made.target.engine,
                    "precision": row.made.target.precision.value,
                    "layout": _layout(row),
                    "bytes": row.made.size,
                    "latency_ms_one_thread": None if row.latency_ms is None else round(row.latency_ms, 3),
                    "float_layers": list(row.float_layers),
                    "gate": None if row.comparison is None else row.comparison.to_dict(),
                }
                for row in self.rows
            ],
        }

    def _text(self) -> str:
        parts = [
            f"# Export of {self.model}",
            f"The gate: {self.verdict()}.",
            *([LIMITED] if self.limited else []),
            *self.warnings,
            table(list(HEAD), self.table()),
            _NOTE,
            *(["## The ONNX file against the network", _parity(self.parity)] if self.parity else []),
            *self._comparisons(),
        ]
        return "\n\n".join(parts) + "\n"

    def _comparisons(self) -> list[str]:
        parts = []
        for row in self.rows:
            if row.comparison is not None:
                kept = f"Kept in float: {', '.join(row.float_layers)}." if row.float_layers else ""
                text = _comparison(row.comparison, self.labels)
                parts += [f"## {row.made.target.file} against model.onnx", *([kept] if kept else []), text]
        return parts


def _layout(row: Row) -> str | None:
    layout = row.made.target.layout
    return None if layout is None else layout.value


def _line(row: Row) -> list[str]:
    found = row.comparison
    # In a limited gate, the float file's answers stand for the truth.
    accuracy = "-" if found is None or found.limited else f"{found.accuracy_quantised:.2%} ({_points(found):+.2f})"
    return [
        row.made.target.file,
        f"{row.made.size / 1e6:.2f}",
        "-" if row.latency_ms is None else f"{row.latency_ms:.2f}",
        accuracy,
        "-" if found is None else str(found.flips),
        _verdict(row),
    ]


def _points(found: Comparison) -> float:
    return 100 * (found.accuracy_quantised - found.accuracy)


def _verdict(row: Row) -> str:
    if row.comparison is None:
        return "the original"
    if row.failures:
        return "FAILED"
    kept = f", {len(row.float_layers)} in float" if row.float_layers else ""
    return f"passed{', limited' if row.comparison.limited else ''}{kept}"


def _parity(parity: Parity) -> str:
    return (
        f"On {parity.images} inputs, the largest difference of an output is {parity.largest_difference:.2g} of its "
        f"largest value, and {parity.top1:.2%} of the best labels are the same."
    )


def _comparison(found: Comparison, labels: Sequence[str]) -> str:
    recalls = zip(labels, found.recall, found.recall_quantised, strict=True)
    rows = [
        ["scans", str(found.scans), str(found.scans)],
        ["accuracy", f"{found.accuracy:.2%}", f"{found.accuracy_quantised:.2%}"],
        *([f"recall of {name}", _share(a), _share(b)] for name, a, b in recalls),
        ["expected calibration error", f"{found.ece:.4f}", f"{found.ece_quantised:.4f}"],
    ]
    outlier = (
        ""
        if found.outlier_shift is None
        else f" Outlier scores change by at most {found.outlier_shift:.3f}; {found.outlier_changes} scans are an "
        "outlier to one file only."
    )
    text = (
        f"McNemar p = {found.p_value:.2g}; {found.flips} scans turn from tumour to no tumour; {found.to_standard} of "
        f"{found.tumours} tumours fall below the *standard* threshold by this file alone. A probability changes by "
        f"{found.mean_shift:.4f} on average and by {found.largest_shift:.3f} at most.{outlier}"
    )
    broken = ["Broken limits:\n" + "".join(f"\n- {t}" for t in found.failures)] if found.failures else []
    return "\n\n".join([table(["figure", "fp32", "this file"], rows), text, *broken])


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
