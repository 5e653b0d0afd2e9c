"""Look at labelled data before a model learns from it: copies, leakage, contradictions, shortcuts.

Published sets repeat each other and themselves, mirrored and recompressed. A model that is tested on a copy of what it
was trained on is tested on its memory. The audit finds copies and groups of near-duplicates (see ``similarity.py``) and
writes them down for training to use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgebrain.errors import EXIT_OK, EXIT_SOME_FAILED, ScanError, UsageError
from edgebrain.folders import real
from edgebrain.labelled import Sample, read_labelled, write_samples
from edgebrain.preprocessing import prepare, to_uint8
from edgebrain.readers import read_middle
from edgebrain.types import InputSpec

from . import audit_facts as facts
from .audit_facts import Look
from .audit_report import AuditReport, Unreadable, print_report, write_json
from .similarity import ORIENTATIONS, Indices, components, join, keepers, thumbnail
from .splits import DEFAULT_FRACTIONS, Fractions, by_group, hold_out, keep_test

if TYPE_CHECKING:
    from rich.progress import TaskID

COPY_THRESHOLD = 0.99
GROUP_THRESHOLD = 0.95

_READERS = 2  # threads; decoding releases the interpreter, and more would only wait for the disk
_ID = 16  # hex digits of a file's digest that name its group

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done and how much there is."""


@dataclass(frozen=True)
class _Sets:
    """Which images belong together: intp [N], the smallest index of the set that an image is in."""

    identical: Indices
    copies: Indices
    groups: Indices


def audit(
    samples: Sequence[Sample],
    *,
    copy_threshold: float = COPY_THRESHOLD,
    group_threshold: float = GROUP_THRESHOLD,
    progress: Progress | None = None,
) -> AuditReport:
    """Audit labelled samples.

    Every file is read and prepared as for training. Of a file with several frames the middle one is compared, the one
    that training learns from. Samples that already share a ``group``, a patient for instance, stay together.

    Args:
        samples: What to audit.
        copy_threshold: Cosine over which two images are copies.
        group_threshold: Cosine over which two images belong to one group; at most ``copy_threshold``.
        progress: Told how far it is.

    Returns:
        The findings, and the readable samples with ``group`` (named by the smallest digest among its files, so that the
        same data has the same groups everywhere), ``copy_of`` and ``conflict``. Of copies the one of most pixels is
        kept.

    Raises:
        UsageError: The thresholds make no sense, or no file can be read.
    """
    if not 0.0 < group_threshold <= copy_threshold < 1.0:
        raise UsageError(
            f"Thresholds {group_threshold:g} (group) and {copy_threshold:g} (copy) make no sense.",
            remedy="Both lie between 0 and 1, and that of groups is not above that of copies.",
        )
    readable, looks, unreadable = _read(samples, progress)
    if not readable:
        first = f" The first: {unreadable[0].message}" if unreadable else ""
        raise UsageError(f"None of {len(samples)} files can be read.{first}")
    thumbnails = np.stack([look.thumbnail for look in looks])
    sets = _find_sets(readable, looks, (copy_threshold, group_threshold), progress)
    copies = facts.members(sets.copies)
    groups = facts.members(sets.groups)
    repeats: dict[int, tuple[int, int]] = {}
    for one in copies:
        best_first = sorted(one, key=lambda i: (-looks[i].width * looks[i].height, looks[i].sha256))
        repeats.update(_repeats(looks, thumbnails, best_first, copy_threshold))
    conflicts = [one for one in copies if facts.contradict(readable[i].label for i in one)]
    marked = _mark(readable, looks, groups=groups, conflicts=conflicts, repeats=repeats)
    leaks = [one for one in copies if len(facts.splits_of(marked, one)) > 1]
    mixed = [one for one in groups if facts.contradict(marked[i].label for i in one)]
    spread = [one for one in groups if len(facts.splits_of(marked, one)) > 1]
    return AuditReport(
        images=len(marked),
        unique=len(marked) - len(repeats),
        copy_threshold=copy_threshold,
        group_threshold=group_threshold,
        copy_sets=len(copies),
        largest_copy_sets=facts.largest(copies),
        groups=len(groups),
        largest_groups=facts.largest(groups),
        turned={name: sum(turn == k for _, turn in repeats.values()) for k, name in enumerate(ORIENTATIONS)},
        unreadable=unreadable,
        identical=facts.findings(marked, (one for one in facts.members(sets.identical) if len(one) > 1)),
        leakage=facts.findings(marked, leaks),
        group_leakage=facts.findings(marked, facts.without(spread, leaks)),
        conflicts=facts.findings(marked, conflicts),
        group_conflicts=facts.findings(marked, facts.without(mixed, conflicts)),
        classes=facts.class_rows(marked, looks),
        overlaps=facts.overlaps(marked, sets.copies),
        shortcuts=facts.shortcuts(marked, looks),
        samples=tuple(marked),
    )


def run_audit(
    paths: Sequence[Path],
    *,
    json_path: Path | None = None,
    strict: bool = False,
    copy_threshold: float = COPY_THRESHOLD,
    group_threshold: float = GROUP_THRESHOLD,
    splits_path: Path | None = None,
    fractions: Fractions = DEFAULT_FRACTIONS,
    held_out: str | None = None,
    test_kept: bool = False,
    seed: int = 0,
) -> int:
    """Audit folders and manifests, print the report, and write what is asked for; ``edgebrain audit``.

    Args:
        paths: Labelled folders or CSV manifests.
        json_path: Where to write the report as JSON.
        strict: Whether unreadable files, leakage and conflicts make the exit code 1.
        copy_threshold: Cosine over which two images are copies.
        group_threshold: Cosine over which two images belong to one group.
        splits_path: Where to write a manifest with groups, copies, conflicts and a new split by group.
        fractions: Shares of train, val and test.
        held_out: Source that is kept for test.
        test_kept: Keep the test split that the data came with; else its splits are audited, and not kept.
        seed: Another seed gives another split.

    Returns:
        The exit code.

    Raises:
        UsageError: Nothing to audit, options that make no sense, or a file that cannot be written.
    """
    _check_outputs(paths, [path for path in (splits_path, json_path) if path is not None])
    samples = collect(paths)
    with progress_bar() as progress:
        report = audit(samples, copy_threshold=copy_threshold, group_threshold=group_threshold, progress=progress)
    if splits_path is not None:
        if held_out is not None:
            split = hold_out(report.samples, held_out, fractions=fractions, seed=seed)
        else:
            split = (keep_test if test_kept else by_group)(report.samples, fractions=fractions, seed=seed)
        report = replace(report, splits=facts.split_rows(split))
        write_samples(splits_path, split)
    if json_path is not None:
        write_json(json_path, report)
    print_report(report)
    return EXIT_SOME_FAILED if strict and not report.clean else EXIT_OK


def _check_outputs(inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Refuse to write over what is read: splits lack the columns that only the given manifest has."""
    taken = {real(path) for path in inputs}
    for output in outputs:
        if real(output) in taken:
            raise UsageError(f"{output} is read or written already.", remedy="Name another file for what is written.")
        taken.add(real(output))


def collect(paths: Sequence[Path], *, labels: Collection[str] = ()) -> list[Sample]:
    """Read all data sets; a file that two of them name counts once, as the first one has it.

    Args:
        paths: Labelled folders or CSV manifests.
        labels: Further labels to accept, as for ``read_labelled``.

    Returns:
        At least one sample.

    Raises:
        UsageError: There are none, or a data set cannot be read.
    """
    found: dict[Path, Sample] = {}
    for path in paths:
        for sample in read_labelled(path, labels=labels):
            found.setdefault(Path(sample.path).absolute(), sample)
    if not found:
        raise UsageError("Nothing to audit.", remedy="Give a folder with one sub-folder a class, or a CSV manifest.")
    return list(found.values())


def _read(
    samples: Sequence[Sample], progress: Progress | None
) -> tuple[list[Sample], list[Look], tuple[Unreadable, ...]]:
    readable: list[Sample] = []
    looks: list[Look] = []
    unreadable: list[Unreadable] = []
    with ThreadPoolExecutor(_READERS) as pool:
        for done, (sample, look) in enumerate(zip(samples, pool.map(_look, samples), strict=True), start=1):
            if isinstance(look, Look):
                readable.append(sample)
                looks.append(look)
            else:
                unreadable.append(look)
            if progress is not None:
                progress("Reading", done, len(samples))
    return readable, looks, tuple(unreadable)


def _look(sample: Sample) -> Look | Unreadable:
    spec = InputSpec()
    try:
        scan = read_middle(sample.path)
        prepare(scan, spec)  # what training could not use is found here
        image = to_uint8(scan.pixels, spec, scan.source)[0]
    except ScanError as error:
        return Unreadable(sample.path, error.code, str(error))
    height, width = image.shape
    return Look(scan.sha256, width, height, scan.format, float(image.mean()), thumbnail(image))


def _find_sets(
    samples: Sequence[Sample], looks: Sequence[Look], thresholds: tuple[float, float], progress: Progress | None
) -> _Sets:
    """Compare one file of each content with all others, then give the rest the sets of what they repeat."""
    firsts: dict[str, int] = {}
    identical = np.array([firsts.setdefault(look.sha256, i) for i, look in enumerate(looks)], np.intp)
    distinct = np.unique(identical)

    def show(done: int, total: int) -> None:
        if progress is not None:
            progress("Comparing", done, total)

    thumbnails = np.stack([looks[i].thumbnail for i in distinct])
    copies, groups = (
        distinct[one][np.searchsorted(distinct, identical)] for one in components(thumbnails, thresholds, progress=show)
    )
    named: dict[str, int] = {}
    declared = [(named.setdefault(s.group, i), i) for i, s in enumerate(samples) if s.group]
    if declared:
        groups = join(groups, *(np.array(side, np.intp) for side in zip(*declared, strict=True)))
    return _Sets(identical, copies, groups)


def _repeats(
    looks: Sequence[Look], thumbnails: np.ndarray, best_first: Sequence[int], threshold: float
) -> dict[int, tuple[int, int]]:
    """Say which images of a set repeat which kept one, and how they are turned."""
    firsts: dict[str, int] = {}
    same = {i: firsts.setdefault(looks[i].sha256, i) for i in best_first}
    copies = keepers(thumbnails, list(firsts.values()), threshold)
    return copies | {i: copies.get(first, (first, 0)) for i, first in same.items() if i != first}


def _mark(
    samples: Sequence[Sample],
    looks: Sequence[Look],
    *,
    groups: Sequence[facts.Members],
    conflicts: Sequence[facts.Members],
    repeats: dict[int, tuple[int, int]],
) -> list[Sample]:
    names = {i: min(looks[k].sha256 for k in one)[:_ID] for one in groups for i in one}
    doubtful = {i for one in conflicts for i in one}
    return [
        replace(
            sample,
            group=names[i],
            copy_of=samples[repeats[i][0]].path if i in repeats else "",
            conflict=i in doubtful,
        )
        for i, sample in enumerate(samples)
    ]


@contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """Show a bar on stderr, on a terminal only."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    tasks: dict[str, TaskID] = {}
    with Bar(console=Console(stderr=True), transient=True) as bar:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what)
            bar.update(tasks[what], completed=done, total=total)

        yield show
