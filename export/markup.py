"""Estimates and tables in Markdown, for the model card."""

from __future__ import annotations

from edgebrain.errors import UsageError
from edgebrain.intervals import Estimate


def percent(estimate: Estimate) -> str:
    """An estimate as a percentage with its interval."""
    if estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2%}"
    return f"{estimate.value:.2%} [{estimate.low:.2%}, {estimate.high:.2%}]"


def points(estimate: Estimate) -> str:
    """A difference in points with its interval."""
    if estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:+.1f}"
    return f"{estimate.value:+.1f} [{estimate.low:+.1f}, {estimate.high:+.1f}]"


def share_missing(coverage: Estimate) -> str:
    """One minus an estimate, as a percentage with its interval."""
    if coverage.value is None or coverage.low is None or coverage.high is None:
        return "-"
    return percent(Estimate(1 - coverage.value, 1 - coverage.high, 1 - coverage.low, coverage.method))


def plain(estimate: Estimate) -> str:
    """An estimate as a number with its interval."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "-"
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def for_people(name: str, option: str) -> str:
    """A name as a card can show it: in one line.

    Raises:
        UsageError: It is no text; the message names the option that sets it.
    """
    text = " ".join(name.split())
    if not text.isprintable():  # bytes that are no UTF-8 arrive as characters that are not, either
        raise UsageError(f"{option}: {text!r} is no text that can be printed.", remedy="Give another name.")
    return text
