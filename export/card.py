"""The model card: written from measured figures, never by hand (after Mitchell et al., "Model Cards", FAccT 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgebrain.bundle import Manifest
from edgebrain.evaluation.measure import Evaluation

from . import card_evidence
from .evidence import Evidence
from .gate_report import HEAD, LIMITED, NAME, Report
from .left_out import LeftOut, section
from .markup import percent, plain, share_missing, table
from .verify import Comparison

_PROVENANCE = "## Provenance"
_EXPORTED = "## Exported again"


@dataclass(frozen=True)
class Compared:
    """INT8 against fp32.

    Attributes:
        gate: Of the files that every scan goes through, on the validation split; None where there is no INT8 file.
        both: Of two readers together, by split; empty where there is one, or where they were not compared.
        exact: Whether both were in fp32 then, and not the first alone.
    """

    gate: Comparison | None
    both: Mapping[str, Comparison] = field(default_factory=dict)
    exact: bool = True


def write_card(
    path: Path,
    manifest: Manifest,
    evidence: Evidence,
    fitted: str,
    compared: Compared,
    *,
    data_name: str,
    left_out: Sequence[LeftOut] = (),
) -> None:
    """Write MODEL_CARD.md.

    Args:
        path: File to write.
        manifest: What the bundle says.
        evidence: What was measured of the bundle.
        fitted: What the decision rests on, in words.
        compared: INT8 against fp32.
        data_name: Name of the data.
        left_out: Models that were trained without one of the sources.
    """
    precision, evaluation = list(evidence.evaluations.items())[-1]
    parts = [
        _head(manifest),
        _figures(manifest, evidence.evaluations, data_name),
        _classes(precision, evaluation),
        card_evidence.calibration(evaluation),
        card_evidence.pictures(evaluation),
        _gate(compared.gate),
        _gate_of_both(compared),
        _decision(manifest, fitted),
        _second_reader(manifest),
        card_evidence.elsewhere(evidence.elsewhere),
        section(left_out),
        card_evidence.stress(evidence.stress),
        card_evidence.reliance(evidence.probes),
        _limits(manifest),
        _provenance(manifest),
    ]
    path.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def export_section(card: str, manifest: Manifest, report: Report) -> str:
    """The card of a bundle that was made from another one: its text, and what was made.

    Args:
        card: The card of the other bundle.
        manifest: What the new bundle says.
        report: Of the export.
    """
    text = card.partition(_EXPORTED)[0].partition(_PROVENANCE)[0].rstrip()
    limited = f"\n\n{LIMITED}" if report.limited else ""
    return f"""{text}

{_EXPORTED}

The figures above are those of the bundle that this one was exported from. The gate: {report.verdict()}.{limited}

{table(list(HEAD), report.table())}

{NAME}.md has the rest.

{_provenance(manifest)}
"""


def _head(manifest: Manifest) -> str:
    return f"""# Model card: {manifest.id} {manifest.version}

{manifest.description}. **Not a medical device.** A person reads every scan, whatever the model says.

**Intended use.** {manifest.intended_use}

**Input.** One slice, {manifest.input.width}x{manifest.input.height} after head crop, any intensity scale.
**Output.** A calibrated probability for each of: {", ".join(manifest.labels)}; and a triage value."""


def _figures(manifest: Manifest, evaluations: Mapping[str, Evaluation], data_name: str) -> str:
    columns = list(evaluations)
    rows = [
        ("scans (groups)", [f"{e.n} ({e.n_groups or '-'})" for e in evaluations.values()]),
        ("accuracy", [percent(e.accuracy) for e in evaluations.values()]),
        ("macro-F1", [percent(e.macro_f1) for e in evaluations.values()]),
        ("tumour sensitivity", [percent(e.tumor.sensitivity) if e.tumor else "-" for e in evaluations.values()]),
        ("tumour specificity", [percent(e.tumor.specificity) if e.tumor else "-" for e in evaluations.values()]),
        ("tumours prioritised", [percent(e.tumor.prioritised) if e.tumor else "-" for e in evaluations.values()]),
        ("tumours left as standard", [percent(e.tumor.standard) if e.tumor else "-" for e in evaluations.values()]),
        ("not assessed", [share_missing(e.coverage) for e in evaluations.values()]),
        ("expected calibration error", [plain(e.calibration.ece) for e in evaluations.values()]),
        (
            "the same by luck alone, were probabilities exact",
            [plain(e.calibration.ece_if_calibrated) for e in evaluations.values()],
        ),
        ("Brier score", [plain(e.calibration.brier) for e in evaluations.values()]),
    ]
    figures = table(["figure", *columns], [[name, *values] for name, values in rows])
    return f"""## Figures

On {data_name}, the test split: groups of near-identical slices that no training or tuning saw, copies left out. 95 %
intervals in brackets; they count groups, not images.

{figures}

The command: `edgebrain evaluate splits.csv --split test --unique --model {manifest.id} --precision {columns[-1]}`,
with the `splits.csv` of the training run (docs/guides/training.md says how it is made)."""


def _classes(precision: str, evaluation: Evaluation) -> str:
    rows = [
        [c.label, str(c.support), percent(c.recall), percent(c.precision), percent(c.specificity)]
        for c in evaluation.per_class
    ]
    confusion = [
        [label, *(str(count) for count in row)]
        for label, row in zip(evaluation.labels, evaluation.confusion, strict=True)
    ]
    return f"""### Per class ({precision})

{table(["class", "scans", "sensitivity", "precision", "specificity"], rows)}

Confusion matrix, a row per true and a column per predicted class:

{table(["", *evaluation.labels], confusion)}"""


def _gate(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    verdict = "passed" if not comparison.failures else f"FAILED: {'; '.join(comparison.failures)}"
    return f"""### INT8 against fp32

On {comparison.scans} validation scans: accuracy {comparison.accuracy_quantised:.2%} against {comparison.accuracy:.2%}
(McNemar p = {comparison.p_value:.2g}), {comparison.flips} scans from tumour to no tumour, {comparison.to_standard} of
{comparison.tumours} tumours below the *standard* threshold by INT8 alone, ECE {comparison.ece_quantised:.4f} against
{comparison.ece:.4f}, largest change of a probability {comparison.largest_shift:.3f}. The gate: {verdict}."""


def _gate_of_both(compared: Compared) -> str:
    if not compared.both:
        return ""
    rows = [
        [
            split,
            str(found.scans),
            f"{found.accuracy_quantised:.2%}, {found.accuracy:.2%}",
            f"{found.p_value:.2g}",
            str(found.flips),
            f"{found.to_standard} of {found.tumours}",
            "-" if found.unprioritised is None else f"{found.unprioritised} of {found.tumours}",
            f"{found.ece_quantised:.4f}, {found.ece:.4f}",
            "yes" if not found.failures else f"**no**: {'; '.join(found.failures)}",
        ]
        for split, found in compared.both.items()
    ]
    moved = ["to no tumour", "to *standard*", "not *prioritised* any more"]
    head = ["split", "scans", "accuracy", "McNemar p", *moved, "ECE", "within the gate"]
    other = "both in fp32" if compared.exact else "the first in fp32 (the second has no such file)"
    return f"""That is the first network alone. Both readers in INT8, as they are shipped, against {other}:

{table(head, rows)}"""


def _decision(manifest: Manifest, fitted: str) -> str:
    d, second = manifest.decision, manifest.second_reader
    reasons = [
        f"when the best label stays under {d.min_confidence:.0%} without a likely tumour",
        f"when more than {d.max_color_fraction:.0%} of the pixels are coloured",
    ]
    if d.max_outlier is not None:
        reasons.append(f"when its outlier score is above {d.max_outlier:g} (it looks like no brain MRI slice)")
    if second is not None and second.negatives:
        reasons.append("when the first network is sure that there is none and the second is not")
    return f"""## Decision

Logits are divided by {d.temperature:g}. A scan is *prioritised* from a tumour probability
of {d.operating_point:.1%}, *standard* below {d.standard_below:.1%}, and *cannot be assessed* between the two,
{", ".join(reasons[:-1])}, or
{reasons[-1]}.

They were fitted on {fitted}."""


def _second_reader(manifest: Manifest) -> str:
    second = manifest.second_reader
    if second is None:
        return ""
    counts = f"{second.weight:.0%}"
    strange = (
        ""
        if second.graph.outlier is None
        else f" The outlier score is then the higher one of both, its logit raised by {second.outlier_shift:g}."
    )
    more = "" if second.graph.outlier is None else "the outlier score is the higher one of both, "
    negative = (
        ""
        if not second.negatives
        else f"""The second reader also reads every scan that the first calls {manifest.negative_label} without a doubt:
there its logits replace the first's, {more}and where it finds something else, the scan *cannot be assessed*.
"""
    )
    return f"""**Second reader.** {second.id} {second.version} reads a scan, too, where the first network's best
logit leads the next one by less than {second.margin:g}; its logits then count {counts} of the mean.{strange}
{negative}All figures are of both together; in those of fp32 the first network is in fp32, and the second in INT8, which
is all that it is shipped in. The provenance says what it was fitted on."""


def _limits(manifest: Manifest) -> str:
    blind = (
        "- Whether a picture is a brain MRI at all is judged by an output that learned from other pictures. Kinds far\n"
        "  from those may pass, and unusual scans may be refused."
        if manifest.decision.max_outlier is not None
        else "- There is no test of whether a picture is a brain MRI, beyond colour: a grey photo gets an answer."
    )
    return f"""## Where it fails

- The data has no patient ids. Near-duplicate groups stand in for patients; slices of one patient that look different
  may still be in two splits, so the figures above are optimistic for new patients.
- In the public sets, scans without a tumour are nearly all axial T2 from one source, tumours nearly all T1 with
  contrast. The model may still lean on sequence, view and source. Expect worse figures on scans from other hospitals.
{blind}
- It has never seen a stroke, a bleed, a metastasis labelled as such, or a child. "no tumour" is not "healthy"."""


def _provenance(manifest: Manifest) -> str:
    rows = [[key, str(value)] for key, value in manifest.provenance.items()]
    second = () if manifest.second_reader is None else (manifest.second_reader.artifact,)
    files = [[a.file, a.precision.value, f"{a.bytes}", a.sha256] for a in (*manifest.artifacts, *second)]
    return f"""{_PROVENANCE}

{table(["what", "value"], rows)}

{table(["file", "precision", "bytes", "sha256"], files)}"""
