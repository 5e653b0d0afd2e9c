"""The benchmark scripts where they must not guess: peers that are missing, and a peer's process."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

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
