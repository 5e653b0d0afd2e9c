"""The neuroradiologist's line: how many scans a person reads in an hour, and what that figure means."""

from __future__ import annotations

SCANS_PER_HOUR = (2.0, 4.0)
"""Examinations that a neuroradiologist reads and reports in an hour."""
SHORT_SOURCE = 'Source: "Deep Learning Brain Tumor Classifier", slides'
SOURCE = '2 to 4 scans an hour: "Deep Learning Brain Tumor Classifier", slides; a scan is a whole examination there'
MEANING = (
    "A neuroradiologist reads and reports a whole examination, of many slices and sequences; the program looks at "
    "single slices and finds nothing but tumours, so that the two rates are not like for like."
)
SLICES_PER_EXAM = 150
"""Slices that an examination is taken to have where nobody says otherwise; an assumption, not a measurement."""


def exams_per_hour(scans_per_hour: float, slices_per_exam: int) -> float:
    """Examinations of so many slices that a rate of slices is enough for."""
    return scans_per_hour / slices_per_exam


def times_a_reader(scans_per_hour: float, slices_per_exam: int) -> tuple[float, float]:
    """How many readers' rate that is, against the fastest and the slowest reader of SCANS_PER_HOUR."""
    slow, fast = SCANS_PER_HOUR
    exams = exams_per_hour(scans_per_hour, slices_per_exam)
    return exams / fast, exams / slow
