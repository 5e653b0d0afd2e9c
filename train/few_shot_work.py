"""What the honest test has finished so far, on disk: hours of meta-training must survive a kill.

Beside the report lies the folder ``work`` with a checkpoint of every meta-training and the rows that were judged. It
goes away when the report is written.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgebrain.errors import TrainingError, UsageError
from edgebrain.files import failing
from edgebrain.intervals import Estimate
from edgebrain.labelled import Sample
from edgebrain.outputs import write_whole

from . import checkpoint
from .config import Recipe, recipe_tree
from .data import digest
from .meta_loop import State
from .progress import FREE_SPACE

WORK = "work"
"""Name of the folder in a report's folder."""
_PLAN, _ROWS = "plan.json", "rows.json"

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


def check_work(report: Path, *, resume: bool) -> None:
    """Say whether a test can start or go on in a folder, before any long work.

    Raises:
        UsageError: It holds an unfinished test, or none to go on with.
    """
    folder = report / WORK
    if resume and not (folder / _PLAN).is_file():
        raise UsageError(f"{report} holds no unfinished test.", remedy="Start it without --resume.")
    if not resume and ((folder / _ROWS).is_file() or any(folder.glob("*.safetensors"))):
        raise UsageError(
            f"{report} holds a test that was stopped.", remedy="--resume goes on with it; or name another --report."
        )


def remove_work(report: Path) -> None:
    """Take the folder of a finished test away: what it held is in the report."""
    shutil.rmtree(report / WORK, ignore_errors=True)


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
            with failing(str(self.folder), FREE_SPACE):
                self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / _PLAN, (json.dumps(told, indent=2) + "\n").encode())
            return
        earlier = _read(self.folder / _PLAN, dict[str, Any])
        other = [name for name in told if told[name] != earlier.get(name)]
        if other:
            raise UsageError(
                f"The test in {report} was started with other {' and '.join(other)}.",
                remedy="Repeat its options; only --protocol and --threads may change.",
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
        checkpoint.save(self._path(training, method), asdict(state))

    def _path(self, training: str, method: str) -> Path:
        return self.folder / f"{training.replace(':', '-')}.{method}.safetensors"


def _identity(plan: Plan, samples: Sequence[Sample]) -> dict[str, Any]:
    return {
        "recipe": json.loads(json.dumps(recipe_tree(plan.recipe))),
        "data": digest(samples),
        "models": [hashlib.sha256(path.read_bytes()).hexdigest() for path in plan.models],
        "shots": list(plan.shots),
        "queries": plan.queries,
        "episodes": plan.episodes,
        "scratch": plan.scratch,
    }


def _read(path: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise TrainingError(f"{path} is damaged: {error}.", remedy="Start again, with another --report.") from error
