"""The benchmark scripts where they must not guess: peers that are missing, and a peer's process."""

from __future__ import annotations

import dataclasses
import importlib
import io
import itertools
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import pytest

from edgebrain import Classifier
from edgebrain.phantom import PhantomSpec, draw_phantom

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("peers")


def test_a_missing_peer_is_skipped_and_nothing_is_installed(
    peers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        pytest.fail("something was started")

    monkeypatch.setattr(subprocess, "run", fail)
    plan = importlib.import_module("plan").Plan(("a.png",), 1, 1, 1, 1, 1, (1,), environments=str(tmp_path))
    missing = peers.Peer("no-such-peer", "nothing", ("no_such_module",), ("no-such-package",))
    with pytest.raises(peers.Skipped, match="no-such-package is not installed; --install"):
        peers._python(missing, plan)
    present = peers.Peer("present", "something", ("json",), ("json",))
    assert peers._python(present, plan) == Path(sys.executable)
    assert list(tmp_path.iterdir()) == []


def test_every_peer_has_a_way_to_run(peers: ModuleType) -> None:
    child = importlib.import_module("peer_child")
    assert {peer.name for peer in peers.PEERS} == set(child.PEERS)


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        (
            "WARNING: an index is ignored\nERROR: No matching distribution\nERROR: more",
            "ERROR: No matching distribution",
        ),
        ("Traceback\n\nOSError: no space left\n", "OSError: no space left"),
        ("", "no reason given"),
    ],
)
def test_the_reason_of_a_failed_installation_is_its_error(peers: ModuleType, stderr: str, reason: str) -> None:
    assert peers.reason_of(stderr) == reason


def test_versions_are_found_however_a_wheel_spells_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    child = importlib.import_module("peer_child")
    found = [SimpleNamespace(name="openvino_model_api", version="1.2"), SimpleNamespace(name="Pillow", version="13.0")]
    monkeypatch.setattr(child.metadata, "distributions", lambda: found)
    assert child.versions(["openvino-model-api", "pillow", "torch"]) == ["openvino-model-api 1.2", "pillow 13.0"]


def test_a_process_says_why_its_peer_cannot_run(tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"files": [], "threads": 1, "graph": "", "packages": []}), encoding="utf-8")
    command = [sys.executable, str(SCRIPTS / "peer_child.py"), "no-such-peer", str(job)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == {"skipped": "KeyError: 'no-such-peer'"}


def test_startup_compares_help_with_its_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    startup = importlib.import_module("startup")
    asked: list[str] = []

    def launch(commands: dict[str, list[str]], rounds: int) -> dict[str, list[dict[str, float]]]:
        asked.extend(commands)
        sample = {name: {"wall": 20.0 * k, "cpu": 10.0 * k, "memory": 5.0} for k, name in enumerate(commands, 1)}
        return {name: [one] * rounds for name, one in sample.items()}

    monkeypatch.setattr(startup, "launch", launch)
    monkeypatch.setattr(startup, "one_file_commands", lambda _: {"classify": ["classify"]})
    plan = importlib.import_module("plan").Plan(("a.png",), 1, 3, 1, 1, 1, (1,))
    found = startup.measure(plan)
    importing, shown = found.outcomes
    assert importing.value == 20.0  # the third command's 30 ms over the first one's 10
    assert shown.value == 3.0  # the sixth command's 60 ms over the second one's 20
    assert [row[0] for row in found.series[0].rows] == asked


def test_a_process_works_when_it_is_asked_and_its_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    served = importlib.import_module("served")
    child = "print('{}', flush=True); input(); print('{\"seconds\": 2.5}', flush=True); input(); raise SystemExit(3)"
    process = served.Served([sys.executable, "-c", child])
    assert process.first == {}
    assert process.seconds() == 2.5
    with pytest.raises(served.Gone, match="ended with 3"):
        process.seconds()
    process.close()


@pytest.mark.parametrize(
    ("child", "said"),
    [
        ("print('{}', flush=True); raise SystemExit('no memory')", "ended with 1: no memory"),
        ("print('{}', flush=True); input(); print('no figure', flush=True); input()", "printed 'no figure'"),
    ],
)
def test_a_process_that_cannot_go_on_is_told(monkeypatch: pytest.MonkeyPatch, child: str, said: str) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    served = importlib.import_module("served")
    process = served.Served([sys.executable, "-c", child])
    if "input" not in child:
        process._process.wait()
    with pytest.raises(served.Gone, match=said):
        process.seconds()
    process.close()


def test_late_scans_come_from_the_process_with_the_long_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    growth = importlib.import_module("growth")
    closed: list[int] = []

    class Process:
        """Takes a second a scan for every scan that it has behind it."""

        def __init__(self, command: list[str]) -> None:
            self.before = int(command[-1])

        def seconds(self) -> float:
            return float(self.before)

        def close(self) -> None:
            closed.append(self.before)

    monkeypatch.setattr(growth, "Served", Process)
    plan = importlib.import_module("plan").Plan(("a.png",), 1, 1, 1, 1, 1, (2, 5, 9))
    early, late, before = growth._early_and_late(plan)
    assert (set(early), set(late), before) == ({2e3}, {9e3}, 9)
    assert len(early) == len(late) == growth.PASSES
    assert sorted(closed) == [2, 9]


def test_a_long_run_comes_before_the_process_says_that_it_is_ready(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    long_run = importlib.import_module("long_run")
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"files": ["a", "b"], "model": "edge", "threads": 1}), encoding="utf-8")
    seen: list[tuple[str, ...]] = []
    monkeypatch.setattr(long_run, "classify_all", lambda _, files, __: seen.append(files))
    monkeypatch.setattr(sys, "argv", ["long_run.py", str(job), "5"])
    monkeypatch.setattr(sys, "stdin", io.StringIO("again\n"))
    long_run.main()
    assert seen == [("a", "b", "a", "b", "a"), ("a", "b")]
    assert [sorted(json.loads(line)) for line in capsys.readouterr().out.splitlines()] == [[], ["seconds"]]


def test_only_test_scans_that_repeat_no_other_are_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    scans = importlib.import_module("scans")
    splits = tmp_path / "splits.csv"
    head = "path,label,source,group,split,copy_of\n"
    training = "a.png,glioma,s,g1,train,\n"
    test = "b.png,glioma,s,g2,test,\nc.png,pituitary,s,g3,test,\nd.png,glioma,s,g2,test,b.png\n"
    picture = "e.png,not_brain_mri,s,g4,test,\n"
    for name in "abcde":
        (tmp_path / f"{name}.png").touch()
    splits.write_text(head + training + test + picture, encoding="utf-8")
    paths, labels, groups = scans.held_out_scans(splits)
    assert [Path(path).name for path in paths] == ["b.png", "c.png"]
    assert (labels, groups) == (("glioma", "pituitary"), ("g2", "g3"))
    splits.write_text(head + training, encoding="utf-8")
    with pytest.raises(SystemExit, match="has no split 'test'"):
        scans.held_out_scans(splits)
    with pytest.raises(SystemExit, match=r"no\.csv"):
        scans.held_out_scans(tmp_path / "no.csv")


def test_the_second_reader_is_held_against_the_first_network_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    readers = importlib.import_module("readers")
    asked: list[bool] = []
    load = readers.Classifier.load

    def noting(*arguments: Any, second_reader: bool = True, **options: Any) -> Classifier:
        asked.append(second_reader)
        classifier: Classifier = load(*arguments, second_reader=second_reader, **options)
        return classifier

    monkeypatch.setattr(readers.Classifier, "load", noting)
    phantom = tmp_path / "phantom.png"
    cv2.imwrite(str(phantom), draw_phantom(PhantomSpec(side=64)))
    found = readers.measure(importlib.import_module("plan").Plan((str(phantom),), 1, 1, 2, 1, 1, (1,)))
    assert asked == [True, False]
    assert [len(o.ours_samples) == len(o.against_samples) == 2 for o in found.outcomes] == [True]


@pytest.mark.parametrize("count", [1, 3, 4, 5, 7, 523])
def test_what_is_slow_gets_files_spread_over_all(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    plan = importlib.import_module("plan").Plan(tuple(map(str, range(count))), 1, 1, 1, 4, 1, (1,))
    few = [int(name) for name in plan.few]
    gaps = {after - before for before, after in itertools.pairwise([*few, count])}
    assert len(few) == min(4, count)
    assert few[0] == 0
    assert max(gaps) - min(gaps) <= 1


def test_plots_show_which_targets_are_met_and_who_is_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    outcome, plots, tables = (importlib.import_module(name) for name in ("outcome", "plots", "tables"))
    held = outcome.Outcome("file to record", "ours", "floor", "ms", [2.0], [1.0], target=1.18)
    ahead = outcome.Outcome(
        "a peer", "ours", "peer", "scans/s", [400.0], [4.0], target=1.0, at_most=False, rival="a peer"
    )
    assert plots._used(held, held.value) == pytest.approx(100 * 2 / 1.18)
    assert plots._used(ahead, ahead.value) == pytest.approx(1.0)
    curve = outcome.Curve("Scans", "MB", [(1.0, 2.0), (10.0, 2.5)])
    found = outcome.Findings("Steady", "", [held, ahead], [outcome.Series("Memory", [], [], curve)])
    parts = {"created": "", "command": "", "quick": True, "busy": False, "scans": ""}
    report = tables.Report(**parts, machine={}, libraries={}, model={}, findings={"steady": found})
    drawn = plots.draw_plots(report)
    assert set(drawn) == set(plots.SHOWN)
    assert all(content.startswith(b"\x89PNG") for content in drawn.values())
    assert outcome.findings_from(dataclasses.asdict(found)) == found
