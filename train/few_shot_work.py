"""What the honest test has finished so far, on disk: hours of meta-training must survive a kill.

Beside the report lies the folder ``.edgebrain-fewshot`` with a checkpoint of every meta-training and the rows that were
judged. It goes away when the report is written; what others put there stays.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgebrain.errors import TrainingError, UsageError
from edgebrain.intervals import Estimate
from edgebrain.labelled import Sample
from edgebrain.outputs import write_whole

from . import checkpoint
from .config import Recipe, recipe_tree
from .data import digest
from .meta_loop import State
from .started import marks

WORK = ".edgebrain-fewshot"
"""Name of the folder in a report's folder."""
_PLAN, _ROWS = "plan.json", "rows.json"

_FORMAT: Literal["edgebrain-fewshot/1"] = "edgebrain-fewshot/1"
_ELSEWHERE = "Move it away, or name another --report."

Key = tuple[str, str, str, int]
"""Protocol, model, method and shots of a row."""


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        recipe: The MAML recipe: network, numbers and seed of what is trained here.
        shots: Numbers of support scans a class.
        queries: Query scans a class.
        episodes: Episodes of each figure.
        models: Trained models: networks whose embedding is judged, or meta-trained ones that need no new training.
        only: Names of protocols to run; all if empty.
        scratch: Meta-train the recipe's network; off leaves embeddings alone.
        threads: Threads of the tensor library.
    """

    recipe: Recipe
    shots: tuple[int, ...] = (1, 5, 10)
    queries: int = 15
    episodes: int = 600
    models: tuple[Path, ...] = ()
    only: tuple[str, ...] = ()
    scratch: bool = True
    threads: int | None = None


@dataclass(frozen=True)
class Row:
    """One figure: a method on the episodes of a protocol."""

    protocol: str
    model: str
    method: str
    shots: int
    episodes: int
    accuracy: Estimate
    recall: dict[str, float]
    trained_labels: tuple[str, ...]

    @property
    def key(self) -> Key:
        """What tells it from other rows."""
        return self.protocol, self.model, self.method, self.shots


class _Started(msgspec.Struct):
    """What a test was started with, and the names of its checkpoints."""

    format: Literal["edgebrain-fewshot/1"]
    given: dict[str, Any]
    checkpoints: list[str]


def check_work(report: Path, *, resume: bool) -> None:
    """Say whether a test can start or go on in a folder, before any long work.

    Raises:
        TrainingError: What is known of an unfinished test is damaged.
        UsageError: It holds an unfinished test, or none to go on with; or something that no test of ours wrote is where
            its files would be.
    """
    folder = report / WORK
    for place in (report, folder):
        if os.path.lexists(place) and not place.is_dir():
            raise UsageError(f"{place} is no folder, but one is needed there.", remedy=_ELSEWHERE)
    begun = (folder / _PLAN).is_file()
    if resume and not begun:
        raise UsageError(f"{report} holds no unfinished test.", remedy="Start it without --resume.")
    if resume or not folder.is_dir():
        return
    if begun and ((folder / _ROWS).is_file() or _started(folder).checkpoints):
        raise UsageError(
            f"{report} holds a test that was stopped.", remedy="--resume goes on with it; or name another --report."
        )
    if not begun and any(folder.iterdir()):
        raise UsageError(f"{folder} holds files of something else.", remedy=_ELSEWHERE)


def remove_work(report: Path) -> None:
    """Take away what a finished test kept, as it is in the report; the folder too, if nothing else is in it."""
    folder = report / WORK
    checkpoints = _started(folder).checkpoints
    with contextlib.suppress(OSError):  # the report is written: files that stay are no reason to fail
        for name in checkpoints:
            (folder / name).unlink(missing_ok=True)
            for part in folder.glob(f".{glob.escape(name)}.*.tmp"):  # of a checkpoint that a kill cut short
                part.unlink()
        for part in folder.glob(".edgebrain-*.partial"):
            part.unlink()
        (folder / _ROWS).unlink(missing_ok=True)
        (folder / _PLAN).unlink()
        folder.rmdir()


class Work:
    """The folder of a test that runs.

    Args:
        report: Folder of the report.
        plan: What is run; all of it but the choice of protocols and the threads must stay the same over a resume.
        samples: The data.
        resume: Whether a stopped test goes on.

    Raises:
        UsageError: See :func:`check_work`; or the test was started with something else.
    """

    def __init__(self, report: Path, plan: Plan, samples: Sequence[Sample], *, resume: bool) -> None:
        check_work(report, resume=resume)
        self.folder = report / WORK
        self.rows: dict[Key, Row] = {}
        told = _identity(plan, samples)
        if not resume:
            self._started = _Started(_FORMAT, told, [])
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(
                    f"{self.folder} cannot be made: {error.strerror}.", remedy="Name another --report."
                ) from error
            self._tell()
            return
        self._started = _started(self.folder)
        other = [name for name in told if told[name] != self._started.given.get(name)]
        if other:
            raise UsageError(
                f"The test in {report} was started with other {' and '.join(other)}.",
                remedy="Repeat its options, with the same splits; only --protocol and --threads may change.",
            )
        if (self.folder / _ROWS).is_file():
            self.rows = {row.key: row for row in _read(self.folder / _ROWS, list[Row])}

    def add(self, row: Row) -> None:
        """Keep a row."""
        self.rows[row.key] = row
        write_whole(self.folder / _ROWS, json.dumps([asdict(one) for one in self.rows.values()]).encode())

    def state(self, training: str, method: str) -> State | None:
        """How far a meta-training came; None where it did not begin."""
        path = self._path(training, method)
        return State(**checkpoint.load(path)) if path.is_file() else None

    def keep(self, training: str, method: str, state: State) -> None:
        """Keep how far a meta-training came."""
        path = self._path(training, method)
        if path.name not in self._started.checkpoints:
            self._started.checkpoints.append(path.name)
            self._tell()  # before the file is there: what is not listed is not taken away
        checkpoint.save(path, asdict(state))

    def _tell(self) -> None:
        tree = msgspec.to_builtins(self._started)
        write_whole(self.folder / _PLAN, (json.dumps(tree, indent=2) + "\n").encode())

    def _path(self, training: str, method: str) -> Path:
        return self.folder / f"{training.replace(':', '-')}.{method}.safetensors"


def _identity(plan: Plan, samples: Sequence[Sample]) -> dict[str, Any]:
    return {
        "recipe": json.loads(json.dumps(recipe_tree(plan.recipe))),
        "data": digest(samples),
        "groups, copies or conflicts": marks(samples),
        "models": [hashlib.sha256(path.read_bytes()).hexdigest() for path in plan.models],
        "shots": list(plan.shots),
        "queries": plan.queries,
        "episodes": plan.episodes,
        "scratch": plan.scratch,
    }


def _started(folder: Path) -> _Started:
    found: _Started = _read(folder / _PLAN, _Started)
    if any(Path(name).name != name for name in found.checkpoints):
        raise TrainingError(f"{folder / _PLAN} names files elsewhere.", remedy=_ELSEWHERE)
    return found


def _read(path: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise TrainingError(f"{path} is damaged: {error}.", remedy="Start again, with another --report.") from error
