"""The figures that a bundle states about itself."""

from __future__ import annotations

from typing import Any

from edgebrain.evaluation.measure import Evaluation


def headline(evaluation: Evaluation, data_name: str) -> dict[str, Any]:
    """The figures of one precision, as ``metrics`` of the manifest holds them.

    Args:
        evaluation: Of the test split.
        data_name: Name of the data for people.

    Returns:
        JSON-able: what was measured on, the number of scans and groups, and each figure with its interval.
    """
    tumor = evaluation.tumor
    figures = {
        "accuracy": evaluation.accuracy,
        "macro_f1": evaluation.macro_f1,
        "ece": evaluation.calibration.ece,
        **({"tumor_sensitivity": tumor.sensitivity, "tumor_specificity": tumor.specificity} if tumor else {}),
    }
    rounded = {
        name: {"value": _rounded(e.value), "low": _rounded(e.low), "high": _rounded(e.high), "method": e.method}
        for name, e in figures.items()
    }
    return {
        "data": f"{data_name}, test split without copies",
        "scans": evaluation.n,
        "groups": evaluation.n_groups,
        **rounded,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
