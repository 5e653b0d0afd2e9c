"""From older layouts of ``manifest.json`` to the present one, a version at a time; pure, and on plain JSON values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgebrain.seal import SEAL, answer_sha256

Migration = Callable[[dict[str, Any]], dict[str, Any]]


def _without_outlier(tree: dict[str, Any]) -> dict[str, Any]:
    """Version 2 names an outlier output and its limit, and always says how scans are prepared.

    A model of version 1 has neither, and was trained with preprocessing 1, whether it says so or not.
    """
    graph, decision = tree["graph"], tree["decision"]
    if "outlier" in graph or "max_outlier" in decision:
        raise ValueError("there is no outlier output in this version")
    return {
        **tree,
        "input": {"preprocessing": 1, **tree["input"]},
        "graph": {**graph, "outlier": None},
        "decision": {**decision, "max_outlier": None},
    }


def _without_heads_and_layouts(tree: dict[str, Any]) -> dict[str, Any]:
    """Version 3 may hold heads to adapt, one that stands in for the graph's own, layouts, and calibration ranges."""
    layouts = (artifact.get("layout") for artifact in tree["artifacts"])
    if "heads" in tree or "head" in tree or any(found is not None for found in (tree.get("calibration"), *layouts)):
        raise ValueError("there are no heads, layouts and calibration ranges in this version")
    return {**tree, "heads": [], "head": None, "calibration": None}


def _without_second_reader(tree: dict[str, Any]) -> dict[str, Any]:
    """Version 4 may name a network that reads doubtful scans, too."""
    if "second_reader" in tree:
        raise ValueError("there is no second reader in this version")
    return {**tree, "second_reader": None}


def _without_seal(tree: dict[str, Any]) -> dict[str, Any]:
    """Version 5 has a hash over what decides an answer; there is nothing to hold an older manifest against."""
    if SEAL in tree:
        raise ValueError("there is no hash of the answer in this version")
    return {**tree, SEAL: answer_sha256(tree)}


def _without_negatives(tree: dict[str, Any]) -> dict[str, Any]:
    """Version 6 may ask the second reader about all scans that the first calls negative."""
    second = tree.get("second_reader")
    if second is None:
        return {**tree}
    if "negatives" in second:
        raise ValueError("no second reader is asked about negatives in this version")
    return {**tree, "second_reader": {**second, "negatives": False}}


MIGRATIONS: Mapping[int, Migration] = {
    1: _without_outlier,
    2: _without_heads_and_layouts,
    3: _without_second_reader,
    4: _without_seal,
    5: _without_negatives,
}
"""Step that turns a manifest of version N into one of version N + 1, by N. Version 1 is the first."""
