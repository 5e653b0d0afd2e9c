"""A test of hours that is killed: what it had finished is not done again, and the figures are the same."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgebrain.errors import TrainingError, UsageError
from edgebrain.labelled import Sample
from edgebrain.train import few_shot_run, meta_loop
from edgebrain.train.config import load_recipe
from edgebrain.train.few_shot_work import WORK, Plan, Work, check_work, remove_work

TINY = (
    *("input.width=16", "input.height=16", "cnn.filters=[4,4,4]", "cnn.dense=[8]", "meta.order=first"),
    *("meta.iterations=4", "meta.check_every=2", "meta.check_tasks=2", "meta.support=1", "meta.query=1"),
    *("meta.inner_steps=1", "meta.test_steps=1"),
)
PLAN = Plan(
    load_recipe("maml-glioma-meningioma", list(TINY)),
    shots=(1,),
    queries=1,
    episodes=3,
    only=("unseen-groups",),
    threads=1,
)


class Killed(Exception):
    pass


def counted(patch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Where each meta-training began and ended."""
    seen: list[tuple[int, int]] = []
    train = meta_loop.meta_train

    def tell(*arguments: Any, **options: Any) -> Any:
        began = options["state"].iteration if options["state"] is not None else 0
        state = train(*arguments, **options)
        seen.append((began, state.iteration))
        return state

    patch.setattr("edgebrain.train.few_shot_networks.meta_train", tell)
    return seen


def stop_at(patch: pytest.MonkeyPatch, check: int) -> None:
    """Stop after a number of checks, once their checkpoints are written."""
    keep, done = Work.keep, iter(range(1, 100))

    def stopping(*arguments: Any) -> None:
        keep(*arguments)
        if next(done) == check:
            raise Killed

    patch.setattr(Work, "keep", stopping)


def test_a_killed_test_goes_on_where_it_was(
    phantoms: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        everything = counted(patch)
        whole = few_shot_run.run_few_shot(PLAN, phantoms, tmp_path / "whole")
    assert everything == [(0, 4)] * 3
    assert [(one["method"], one["iterations"]) for one in whole.trainings] == [
        ("maml", 4),
        ("prototypical", 4),
        ("fine-tuning", 4),
    ]
    said = capsys.readouterr().err
    assert "[1/6] training maml for unseen-groups: iteration 2/4" in said
    assert re.search(r"  about \d+ s left\n", said)
    assert "at most" not in said
    assert "maml, 1-shot: " in said

    report = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        stop_at(patch, 3)  # one training is finished and judged, the next one is half done
        with pytest.raises(Killed):
            few_shot_run.run_few_shot(PLAN, phantoms, report)
    with pytest.raises(UsageError, match="was stopped"):
        check_work(report, resume=False)
    with monkeypatch.context() as patch:
        again = counted(patch)
        found = few_shot_run.run_few_shot(PLAN, phantoms, report, resume=True)
    assert again == [(2, 4), (0, 4)]
    assert found.rows == whole.rows
    remove_work(report)
    check_work(report, resume=False)


def test_another_test_does_not_go_on(
    phantoms: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no unfinished test"):
        few_shot_run.run_few_shot(PLAN, phantoms, tmp_path, resume=True)
    stop_at(monkeypatch, 1)
    with pytest.raises(Killed):
        few_shot_run.run_few_shot(PLAN, phantoms, tmp_path)
    changed = Plan(PLAN.recipe, shots=(2,), queries=1, episodes=4, only=PLAN.only, threads=1)
    with pytest.raises(UsageError, match="other shots and episodes"):
        few_shot_run.run_few_shot(changed, phantoms, tmp_path, resume=True)
    regrouped = tuple(replace(s, group="all one") if s.split == "train" else s for s in phantoms)
    with pytest.raises(UsageError, match="started with other groups, copies or conflicts"):
        few_shot_run.run_few_shot(PLAN, regrouped, tmp_path, resume=True)
    (tmp_path / WORK / "rows.json").write_text("[{")
    with pytest.raises(TrainingError, match=r"rows\.json is damaged"):
        few_shot_run.run_few_shot(PLAN, phantoms, tmp_path, resume=True)


def test_what_others_put_where_a_test_works_stays(
    phantoms: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "work" / "notes.txt"
    theirs.parent.mkdir()
    theirs.write_text("mine")
    stop_at(monkeypatch, 1)
    with pytest.raises(Killed):
        few_shot_run.run_few_shot(PLAN, phantoms, tmp_path)
    folder = tmp_path / WORK
    written = {file.name for file in folder.iterdir()}
    assert written == {"plan.json", "unseen-groups.maml.safetensors"}
    for name in (".edgebrain-0123.partial", ".unseen-groups.maml.safetensors.17.tmp"):
        (folder / name).write_text("cut short")
    (folder / "other.safetensors").write_text("mine")
    remove_work(tmp_path)
    assert [file.name for file in folder.iterdir()] == ["other.safetensors"]
    assert theirs.read_text() == "mine"
    with pytest.raises(UsageError, match="files of something else"):
        check_work(tmp_path, resume=False)
    (folder / "other.safetensors").unlink()
    check_work(tmp_path, resume=False)


def test_a_finished_test_leaves_no_folder(phantoms: tuple[Sample, ...], tmp_path: Path) -> None:
    Work(tmp_path, PLAN, phantoms, resume=False)
    check_work(tmp_path, resume=False)  # nothing was finished yet: it may start again
    remove_work(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_names_files_elsewhere_removes_none(phantoms: tuple[Sample, ...], tmp_path: Path) -> None:
    Work(tmp_path, PLAN, phantoms, resume=False)
    plan = tmp_path / WORK / "plan.json"
    plan.write_text(plan.read_text().replace('"checkpoints": []', '"checkpoints": ["../mine.txt"]'))
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(TrainingError, match="names files elsewhere"):
        remove_work(tmp_path)
    assert (tmp_path / "mine.txt").is_file()


@pytest.mark.parametrize("place", ["few", f"few/{WORK}"])
def test_a_file_where_a_folder_must_be_is_named(place: str, phantoms: tuple[Sample, ...], tmp_path: Path) -> None:
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    with pytest.raises(UsageError, match="is no folder") as caught:
        Work(tmp_path / "few", PLAN, phantoms, resume=False)
    assert str(file) in str(caught.value)
    assert "room" not in str(caught.value)
