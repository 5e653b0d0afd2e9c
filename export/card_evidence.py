"""The parts of a model card about scans from elsewhere, changed scans, and what the model looks at."""

from __future__ import annotations

from edgebrain.evaluation.measure import Evaluation
from edgebrain.evaluation.record import RiskPoints
from edgebrain.evaluation.stress_record import ProbeReport, StressReport

from .markup import percent, points, table

_COVERAGE = (0.5, 0.8, 0.9, 0.95, 1.0)


def pictures(evaluation: Evaluation) -> str:
    """Whether pictures that are no brain MRI are refused; empty where none was measured."""
    found = evaluation.outliers
    if found is None or not found.n:
        return ""
    rows = [[p.source, str(p.n), percent(p.accepted)] for p in found.per_source]
    return f"""### Pictures that are no brain MRI

Of {found.n} pictures of other kinds than those in the training data (in part from the same packages),
{percent(found.accepted)} are not refused, and {percent(found.standard)} end as *standard*. Of {found.scans} scans,
{percent(found.refused_as_outlier)} are refused as outliers.

{table(["kind", "pictures", "not refused"], rows)}"""


def elsewhere(evaluation: Evaluation | None) -> str:
    """Figures on other sources; empty where there are none."""
    if evaluation is None or evaluation.tumor is None:
        return ""
    tumor = evaluation.tumor
    rows = [
        ["scans with a tumour", str(tumor.tumors)],
        ["called a tumour", percent(tumor.sensitivity)],
        ["of these, prioritised", percent(tumor.prioritised)],
        ["of these, standard", percent(tumor.standard)],
        ["of these, not assessed", percent(tumor.cannot_assess)],
        ["scans without a tumour", str(tumor.others)],
        ["called free of tumour", percent(tumor.specificity)],
        *(
            [name, percent(share)]
            for row in evaluation.triage
            if row.truth == evaluation.negative
            for name, share in (
                ("of these, standard", row.standard),
                ("of these, not assessed", row.cannot_assess),
                ("of these, prioritised", row.prioritise),
            )
        ),
    ]
    return f"""## On scans from elsewhere

The split `external` of the same manifest: scans that were not trained on, from sources of which others were. The cap of
*standard* was once chosen with all scans of the third source in view (decision 0009).

{table(["figure", "value"], rows)}

The command: `edgebrain evaluate splits.csv --split external --unique`."""


def stress(report: StressReport) -> str:
    """Figures on changed scans."""
    rows = [
        [
            row.name,
            percent(row.accuracy),
            points(row.change),
            "-" if row.limit is None else f"{row.limit:g}",
            percent(row.tumor_sensitivity),
            percent(row.abstention),
            "yes" if row.within_limit else "**no**",
        ]
        for row in report.rows
    ]
    changed = sum(row.limit is not None for row in report.rows)
    head = ["change", "accuracy", "points", "allowed", "tumour sensitivity", "not assessed", "within"]
    return f"""## On changed scans

The test split, each scan changed in every way: {changed - len(report.exceeded)} of {changed} changes keep to their
limit.

{table(head, rows)}

The command: `edgebrain evaluate splits.csv --split test --unique --stress`; docs/guides/robustness.md says what each
change is."""


def reliance(report: ProbeReport | None) -> str:
    """What the model looks at; empty where it was not measured."""
    if report is None:
        return ""
    masking = report.masking
    rows = [[view.description, percent(view.accuracy), percent(view.same_label)] for view in report.views]
    return f"""## What it relies on

Always saying *{report.majority}* is right for {report.majority_share:.1%} of these scans; the model, for
{percent(report.accuracy)}. With parts of the scan taken away:

{table(["what is left", "accuracy", "same answer as before"], rows)}

With the region hidden that its activation map names, {percent(masking.hidden.flipped)} of {masking.n} tumours that were
called right are called free of tumour, and {percent(masking.hidden.lost)} lose more than half of their tumour
probability; with an equally large region hidden elsewhere, {percent(masking.control.flipped)} and
{percent(masking.control.lost)}. The command: `edgebrain evaluate splits.csv --split test --unique --probes`."""


def calibration(evaluation: Evaluation) -> str:
    """Whether probabilities mean what they say, and what is right among the scans that the model is surest of."""
    figures, curve = evaluation.calibration, evaluation.risk_coverage
    if not figures.bins or not curve.coverage:
        return ""
    reliability = [[f"{b.confidence:.3f}", str(b.count), percent(b.accuracy)] for b in figures.bins]
    rows = [_at_coverage(curve, share) for share in _COVERAGE]
    return f"""### Probabilities

Scans by the probability of their best label, in fifteen parts of equal width:

{table(["mean probability", "scans", "right"], reliability)}

Among the scans with the highest probabilities (area under the risk-coverage curve {curve.aurc or 0:.4f}):

{table(["share of scans", "wrong", "lowest probability among them"], rows)}

`edgebrain evaluate splits.csv --split test --unique --report DIR` draws both."""


def _at_coverage(curve: RiskPoints, share: float) -> list[str]:
    place = min(range(len(curve.coverage)), key=lambda k: abs(curve.coverage[k] - share))
    return [f"{curve.coverage[place]:.0%}", f"{curve.risk[place]:.2%}", f"{curve.confidence[place]:.3f}"]
