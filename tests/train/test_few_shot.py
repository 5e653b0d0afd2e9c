"""The honest test on phantoms: what each protocol may see, and that a run of it writes its figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from edgebrain.cli.app import app
from edgebrain.errors import TrainingError, UsageError
from edgebrain.intervals import Estimate
from edgebrain.labelled import Sample, write_samples
from edgebrain.train import few_shot_networks
from edgebrain.train.config import load_recipe
from edgebrain.train.few_shot import Protocol, groups_of, protocols
from edgebrain.train.few_shot_embedded import names_of
from edgebrain.train.few_shot_run import rows_tree, run_few_shot
from edgebrain.train.few_shot_work import Plan
from edgebrain.train.judging import Outcome, accuracy_of, recall_of
from edgebrain.train.maml import FineTuning, Method
from edgebrain.train.meta_config import MetaConfig
from edgebrain.train.models import build, save_model

CLASSES = ("glioma", "meningioma", "no_tumor", "pituitary")


def scans() -> list[Sample]:
    """12 scans of each class in each split, two a group; copies, and tumours of another source."""
    found = [
        Sample(f"{label}-{split}-{i}.png", label, "here", f"{label}{split}{i // 2}", split)
        for label in CLASSES
        for split in ("train", "val", "test")
        for i in range(12)
    ]
    found += [Sample(f"copy-{s.path}", s.label, "here", s.group, s.split, copy_of=s.path) for s in found[::6]]
    return [*found, *(Sample(f"x{i}.png", "tumor", "there", f"x{i}", "external") for i in range(12))]


@pytest.fixture(scope="module")
def known() -> dict[str, Protocol]:
    return {p.name: p for p in protocols(scans())}


def test_every_protocol_is_there(known: dict[str, Protocol]) -> None:
    held = [f"held-out:{label}" for label in CLASSES]
    assert list(known) == ["published", "unseen-groups", *held, "other-source", "other-source-support"]


def rows_of(protocol: Protocol, part: str) -> list[Sample]:
    samples, pool = scans(), getattr(protocol, part)
    return [samples[i] for table in pool for rows in table.values() for i in rows]


def test_only_the_published_protocol_is_judged_on_what_it_learned(known: dict[str, Protocol]) -> None:
    for name, protocol in known.items():
        learned = {s.group for part in ("train", "val") for s in rows_of(protocol, part)}
        asked = {s.group for s in rows_of(protocol, "test")}
        assert bool(learned & asked) == (name == "published")
        assert any(s.copy_of for s in rows_of(protocol, "test")) == (name == "published")


@pytest.mark.parametrize("label", CLASSES)
def test_a_class_held_out_is_in_no_task_of_meta_training(known: dict[str, Protocol], label: str) -> None:
    protocol = known[f"held-out:{label}"]
    for part in ("train", "val"):
        assert {s.label for s in rows_of(protocol, part)} == set(CLASSES) - {label}
    held = protocol.classes.index(label)
    assert all(held in task for task in protocol.test_tasks)
    assert not any(held in task for task in protocol.train_tasks)


def test_tumours_of_the_other_source_are_asked_for_and_never_learned_from(known: dict[str, Protocol]) -> None:
    protocol, samples = known["other-source"], scans()
    sampler = protocol.sampler("test", groups_of(samples), shots=3, queries=3, seed=0)
    for index in range(20):
        episode = sampler.episode(index)
        assert {samples[i].source for i in episode.support.ravel()} == {"here"}
        assert {samples[i].source for i in episode.query[1]} == {"there"}
        assert {samples[i].label for i in episode.query[0]} == {"no_tumor"}


def test_data_without_splits_serves_no_protocol() -> None:
    with pytest.raises(TrainingError, match="no protocol"):
        protocols([Sample("a.png", "glioma"), Sample("b.png", "meningioma")])


def test_an_interval_knows_that_episodes_share_scans() -> None:
    # The same four groups in each of 400 episodes, one of them always wrong: episodes alone would be sure.
    groups = np.tile(np.arange(4), (400, 1))
    outcome = Outcome(groups != 0, groups, groups)
    figure = accuracy_of(outcome)
    assert figure.value == 0.75
    assert figure.method == "cluster bootstrap"
    assert figure.low is not None
    assert figure.low < 0.5
    assert recall_of(outcome, 0) == 0.0
    assert np.isnan(recall_of(outcome, 9))


def test_an_interval_of_nothing_but_hits_has_a_width() -> None:
    groups = np.tile(np.arange(20), (400, 1))
    figure = accuracy_of(Outcome(groups >= 0, groups, groups))
    assert figure.value == 1.0
    assert figure.method == "clustered wilson"
    assert figure.low == pytest.approx(0.839, abs=0.001)  # Wilson for 20 of 20


def test_the_command_writes_a_table_a_plot_and_figures(
    phantoms: tuple[Sample, ...], tiny_sets: tuple[str, ...], tmp_path: Path
) -> None:
    write_samples(tmp_path / "splits.csv", phantoms)
    recipe = load_recipe("edge", list(tiny_sets))
    save_model(tmp_path / "edge" / "model.safetensors", build(recipe).state_dict(), recipe, {})
    changes = (
        *("input.width=16", "input.height=16", "cnn.filters=[4,4,4]", "cnn.dense=[8]"),
        *("meta.iterations=2", "meta.check_every=2", "meta.check_tasks=2", "meta.support=1", "meta.query=1"),
        *("meta.inner_steps=1", "meta.test_steps=1"),
    )
    options = ["--splits", str(tmp_path / "splits.csv"), "--report", str(tmp_path / "few"), "--threads", "1"]
    options += ["--model", str(tmp_path / "edge"), "--episodes", "3", "--queries", "1", "--shots", "1"]
    options += ["--protocol", "unseen-groups", "--protocol", "held-out:pituitary"]
    done = CliRunner().invoke(app, ["fewshot", *options, *(x for c in changes for x in ("--set", c))])
    assert done.exit_code == 0, done.output
    tree = json.loads((tmp_path / "few" / "fewshot.json").read_text())
    assert len(tree["rows"]) == 2 * 6
    assert {row["method"] for row in tree["rows"]} >= {"maml", "prototypical", "fine-tuning", "meta-learned head"}
    assert all(0 <= Estimate(**row["accuracy"]).value <= 1 for row in tree["rows"])  # type: ignore[operator]
    assert (tmp_path / "few" / "fewshot.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "few" / "fewshot.md").read_text().count("\n") == 2 + 12


def test_baselines_learn_at_their_own_rate_and_take_as_many_steps_as_maml(
    phantoms: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: dict[str, float] = {}

    def noted(_: nn.Module, method: Method, *given: Any, **__: Any) -> None:
        config: MetaConfig = given[-1]
        rates[type(method).__name__] = config.lr
        if isinstance(method, FineTuning):
            assert method.steps == 3

    monkeypatch.setattr(few_shot_networks, "meta_train", noted)
    sets = ["input.width=16", "input.height=16", "meta.lr=0.004", "meta.test_steps=3"]
    plan = Plan(load_recipe("maml-glioma-meningioma", sets), shots=(1,), queries=1, episodes=2, only=("unseen-groups",))
    found = run_few_shot(plan, phantoms, tmp_path / "few")
    assert rates == {"Maml": 0.004, "Prototypical": 0.001, "FineTuning": 0.001}
    told = rows_tree(plan, found)
    assert (told["meta"]["lr"], told["baseline_lr"], told["fine_tuning"]["steps"]) == (0.004, 0.001, 3)


def test_models_in_folders_of_one_name_have_rows_of_their_own(
    phantoms: tuple[Sample, ...], tiny_sets: tuple[str, ...], tmp_path: Path
) -> None:
    recipe = load_recipe("edge", list(tiny_sets))
    models = tuple(tmp_path / seed / "edge" / "model.safetensors" for seed in ("seed0", "seed1"))
    for number, path in enumerate(models):
        torch.manual_seed(number)
        save_model(path, build(recipe).state_dict(), recipe, {})
    maml = load_recipe("maml-glioma-meningioma", ["input.width=16", "input.height=16"])
    only = ("unseen-groups",)
    plan = Plan(maml, shots=(1,), queries=1, episodes=3, models=models, only=only, scratch=False, threads=1)
    rows = run_few_shot(plan, phantoms, tmp_path / "few").rows
    assert len({row.key for row in rows}) == len(rows) == 2 * 3
    assert {row.model for row in rows} == {"edge (seed0/edge)", "edge (seed1/edge)"}


def test_names_of_models_are_as_short_as_they_can_be() -> None:
    paths = [Path(p, "model.safetensors") for p in ("/a/s0/edge", "/a/s1/edge", "/b/s1/edge", "/edge", "/lite")]
    assert names_of(paths, ["e"] * 5) == ["e (s0/edge)", "e (a/s1/edge)", "e (b/s1/edge)", "e (/edge)", "e (lite)"]
    assert names_of(paths[:2], ["one", "two"]) == ["one (edge)", "two (edge)"]
    files = [Path("/a/x.safetensors"), Path("/a/y.safetensors")]
    assert names_of(files, ["e", "e"]) == ["e (x.safetensors)", "e (y.safetensors)"]
    with pytest.raises(UsageError, match="given twice"):
        names_of([Path("/a/model.safetensors"), Path("/a/b/../model.safetensors")], ["e", "e"])


def saved(folder: Path, *changes: str) -> Path:
    """A MAML run that has learnt nothing."""
    recipe = load_recipe("maml-glioma-meningioma", ["cnn.filters=[4,4,4]", "cnn.dense=[8]", *changes])
    save_model(folder / "model.safetensors", build(recipe).state_dict(), recipe, {})
    return folder / "model.safetensors"


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ([()], {"scratch": False}, "only embeddings are judged"),
        ([(), ()], {}, "a second MAML run"),
        ([("input.width=32", "input.height=32")], {}, "another input"),
        ([("data.labels=['meningioma', 'glioma']",)], {}, "other labels"),
        ([], {"only": ("unseen-groups", "unseen-group")}, "no protocol 'unseen-group'"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_any_work(
    changes: list[tuple[str, ...]], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    models = tuple(saved(tmp_path / str(i), *change) for i, change in enumerate(changes))
    with pytest.raises(UsageError, match=message):
        run_few_shot(
            Plan(load_recipe("maml-glioma-meningioma"), models=models, threads=1, **options), scans(), tmp_path / "few"
        )
    assert not (tmp_path / "few").exists()
