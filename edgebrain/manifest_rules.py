"""What a manifest may not say, beyond what types can refuse."""

from __future__ import annotations

from pathlib import Path

from edgebrain.errors import InvalidManifest, UnsupportedSchema
from edgebrain.manifest import (
    MANIFEST,
    UPGRADE,
    Artifact,
    HeadSpec,
    Manifest,
    SecondReader,
    files_of,
    files_of_second_reader,
)
from edgebrain.types import PREPROCESSING_VERSIONS

_SIDES = (16, 4096)  # pixels; what lies outside is a mistake, not a model
_ALL = 100  # per cent
_LEAST, _MOST_LOGIT = 1e-6, 1e4  # what lies outside counts for nothing, or for everything, in float32
_MOST_STEPS = 100_000  # of an inner loop; more would hold a box up for hours


def _sound_head(head: HeadSpec) -> bool:
    ways = len(head.labels)
    named = len(set(head.labels)) == ways > 1 and head.negative_label in (None, *head.labels)
    return named and 0 < head.lr < float("inf") and 0 <= head.steps <= _MOST_STEPS


def _sound_reader(second: SecondReader) -> bool:
    return (
        second.artifact.engine == "onnxruntime"
        and _LEAST <= second.margin <= _MOST_LOGIT
        and _LEAST <= second.weight <= 1
        and 0 <= second.outlier_shift <= _MOST_LOGIT
    )


def _names_of_their_own(manifest: Manifest) -> bool:
    second = [entry.file for entry in files_of_second_reader(manifest)]
    others = files_of(manifest)[: -len(second)] if second else []
    return len({*second}) == len(second) and not {*second} & {entry.file for entry in others}


def check(manifest: Manifest, path: Path) -> None:
    """Refuse what types cannot.

    Raises:
        InvalidManifest: It says something impossible.
        UnsupportedSchema: Its input is prepared in a way that this edgebrain does not know.
    """
    decision = manifest.decision
    entries = files_of(manifest)
    files = [entry for entry in entries if isinstance(entry, Artifact)]
    heads = [*manifest.heads, *([manifest.head] if manifest.head is not None else [])]
    labels, spec, second = manifest.labels, manifest.input, manifest.second_reader
    faults = {
        "labels must be two or more, all different": len(set(labels)) != len(labels) or len(labels) <= 1,
        "negative_label is not one of the labels": manifest.negative_label not in (None, *labels),
        "there is no artifact": not manifest.artifacts,
        "decision.temperature must be above 0 and finite": not 0 < decision.temperature < float("inf"),
        "decision.min_confidence and max_color_fraction must lie between 0 and 1": not all(
            0 <= share <= 1 for share in (decision.min_confidence, decision.max_color_fraction)
        ),
        "decision.max_outlier must lie between 0 and 1, both excluded": not (
            decision.max_outlier is None or 0 < decision.max_outlier < 1
        ),
        "decision.max_outlier limits an output that graph.outlier does not name": (
            decision.max_outlier is not None and manifest.graph.outlier is None
        ),
        "heads stand on an embedding that graph.embedding does not name": bool(heads) and not manifest.graph.embedding,
        "the head's labels are not the model's": manifest.head is not None
        and (manifest.head.labels, manifest.head.negative_label) != (labels, manifest.negative_label),
        "heads must have names of their own": len({h.name for h in manifest.heads}) != len(manifest.heads),
        "an adapted head has no second reader": manifest.head is not None and second is not None,
        "second_reader wants a file for onnxruntime, a margin above 0, a weight up to 1 and a shift, none absurd": (
            second is not None and not _sound_reader(second)
        ),
        "the second_reader and the graph have an outlier output both, or neither": (
            second is not None and (second.graph.outlier is None) != (manifest.graph.outlier is None)
        ),
        "second_reader is asked about negatives, and no label is the negative one": (
            second is not None and second.negatives and manifest.negative_label is None
        ),
        "second_reader has a file of another's name": not _names_of_their_own(manifest),
        "a head's labels, lr or steps are out of range": not all(map(_sound_head, heads)),
        "id, version and labels must be text that can be printed": not all(
            text and text.isprintable()
            for text in (
                *(manifest.id, manifest.version, *labels, *(t for h in heads for t in (h.name, *h.labels))),
                *(() if second is None else (second.id, second.version)),
            )
        ),
        "a file name, engine or layout cannot be printed": not all(
            text.isprintable()
            for text in (
                *(e.file for e in entries),
                *(t for a in files for t in (a.engine, a.layout or "")),
            )
        ),
        # Above one half, a scan whose best label is a tumour could be left in its turn.
        "decision wants 0 <= standard_below <= 0.5, and standard_below <= operating_point <= 1": not (
            0 <= decision.standard_below <= min(0.5, decision.operating_point) and decision.operating_point <= 1
        ),
        f"input sides must lie in {_SIDES[0]}..{_SIDES[1]}": not (
            _SIDES[0] <= min(spec.width, spec.height) <= max(spec.width, spec.height) <= _SIDES[1]
        ),
        "input percentiles must be 0 <= low < high <= 100": not 0 <= spec.low_percentile < spec.high_percentile <= _ALL,
        "a file name leaves the bundle's folder": any(
            e.file in ("", ".", "..", MANIFEST) or set(e.file) & set("/\\\0") for e in entries
        ),
    }
    for what, wrong in faults.items():
        if wrong:
            raise InvalidManifest(f"{path}: {what}.")
    if spec.preprocessing not in PREPROCESSING_VERSIONS:
        raise UnsupportedSchema(
            f"{path} wants preprocessing version {spec.preprocessing}; this edgebrain has "
            f"{', '.join(map(str, PREPROCESSING_VERSIONS))}.",
            remedy=UPGRADE,
        )
