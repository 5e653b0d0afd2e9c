"""A benchmark from request to record, with a small fake engine in this process, and once for real."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgebrain import Classifier
from edgebrain.benchmark import launching
from edgebrain.benchmark.cases import ALL, Wanted, plan
from edgebrain.benchmark.measuring import Load, measure_case
from edgebrain.benchmark.record import STAGES, Cold, read_record, to_json
from edgebrain.benchmark.requests import CaseReply, CaseRequest, Config, Effort
from edgebrain.benchmark.run import MOST_FILES, Runner, Task, draw_files, run_benchmark
from edgebrain.bundle import open_bundle
from edgebrain.cli.app import run
from edgebrain.device import probe
from edgebrain.errors import EngineFailed, UsageError
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.readers import read_path

MakeClassifier = Callable[..., Classifier]
LITTLE = Effort(iterations=1, seconds=0.0, starts=1)
CONFIG = Config("tiny", "fake", "fp32", "cpu", 1, 4)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("scans")
    for seed in range(3):
        cv2.imwrite(str(folder / f"{seed}.png"), draw_phantom(PhantomSpec(seed=seed, side=64)))
    return tuple(str(folder / f"{seed}.png") for seed in range(3))


@pytest.fixture
def runner(make_classifier: MakeClassifier) -> Runner:
    def case(request: CaseRequest) -> CaseReply:
        return measure_case(request, opened=opening(make_classifier))

    return Runner(case=case, cold=lambda _config, _file, starts: Cold(command_ms=(100.0,) * starts))


def opening(make: MakeClassifier) -> Load:
    """Opens the fake, whatever is asked for."""

    def opened(config: Config, *, throughput: bool) -> Classifier:
        del config, throughput
        return make()

    return opened


def test_stages_add_up_and_the_run_is_long_enough(
    make_classifier: MakeClassifier, scans: tuple[str, ...], tmp_path: Path
) -> None:
    request = CaseRequest(CONFIG, Effort(iterations=50, seconds=0.05), scans)
    reply = measure_case(request, opened=opening(make_classifier), root=tmp_path)
    assert set(reply.latency_ms) == set(STAGES)
    assert len(reply.latency_ms["total"]) >= 50
    for *parts, total in zip(*(reply.latency_ms[stage] for stage in STAGES), strict=True):
        assert sum(parts) == pytest.approx(total, abs=0.01)
    run = reply.throughput
    assert run.chunk * len(run.seconds) >= 50
    assert sum(run.seconds) >= 0.05 - 0.01
    assert reply.energy is None
    assert any("energy is not measured" in note for note in reply.notes)
    assert reply.usable == scans[0]


def test_files_that_fail_are_left_out_and_told(
    make_classifier: MakeClassifier, scans: tuple[str, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "odd\nfolder"
    folder.mkdir()
    broken = folder / "broken.png"
    broken.write_bytes(b"no image")
    request = CaseRequest(CONFIG, LITTLE, (str(broken), *scans))
    reply = measure_case(request, opened=opening(make_classifier))
    assert len(reply.failed) == 1
    assert reply.failed[0].startswith("broken.png")
    assert str(tmp_path) not in reply.failed[0]
    assert reply.usable == scans[0]
    with pytest.raises(UsageError, match="None of the 1 files"):
        measure_case(CaseRequest(CONFIG, LITTLE, (str(broken),)), opened=opening(make_classifier))


def test_energy_is_measured_where_there_is_a_sensor(
    make_classifier: MakeClassifier, scans: tuple[str, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "class/powercap/intel-rapl:0"
    folder.mkdir(parents=True)
    for name, text in {"name": "package-0", "energy_uj": "5", "max_energy_range_uj": "9"}.items():
        (folder / name).write_text(text, encoding="ascii")
    request = CaseRequest(CONFIG, LITTLE, scans)
    reply = measure_case(request, opened=opening(make_classifier), root=tmp_path)
    assert reply.energy is not None
    assert reply.energy.scans == reply.throughput.chunk * len(reply.throughput.seconds)
    assert reply.energy.joules == 0
    assert not any("energy" in note for note in reply.notes)


def test_a_record_comes_back_as_it_was(scans: tuple[str, ...], runner: Runner, tmp_path: Path) -> None:
    record = run_benchmark(Task(Wanted("edge", sweep=False), LITTLE, paths=scans), runner=runner)
    assert record.cases[0].cold == Cold(command_ms=(100.0,))
    path = tmp_path / "record.json"
    path.write_bytes(to_json(record))
    assert read_record(path) == record
    tree = json.loads(path.read_bytes())
    assert tree["schema"] == 1
    for damage, said in (
        ({"schema": 2}, "version 2"),
        ({"cases": 3}, "no benchmark record"),
        ({"unknown": 1}, "no benchmark record"),
    ):
        path.write_text(json.dumps(tree | damage), encoding="utf-8")
        with pytest.raises(UsageError, match=said):
            read_record(path)
    path.write_bytes(b'{"schema": 1, "model": "\xff"}')
    with pytest.raises(UsageError, match="no benchmark record"):
        read_record(path)
    with pytest.raises(UsageError, match="Cannot read"):
        read_record(tmp_path / "missing.json")


def test_labelled_scans_give_accuracy_and_are_timed(tmp_path: Path, runner: Runner) -> None:
    for name in ("glioma", "no_tumor"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for seed in range(2):
            cv2.imwrite(str(tmp_path / "data" / name / f"{seed}.png"), draw_phantom(PhantomSpec(seed=seed, side=64)))
    record = run_benchmark(Task(Wanted("edge"), LITTLE, data=tmp_path / "data"), runner=runner)
    accuracy = record.cases[0].accuracy
    assert accuracy is not None
    assert (accuracy.n, record.n_files) == (4, 4)
    assert accuracy.data == "data"
    assert str(tmp_path).encode() not in to_json(record)
    assert accuracy.accuracy.low is not None


def test_of_many_files_some_are_taken_evenly(scans: tuple[str, ...], runner: Runner) -> None:
    asked: list[CaseRequest] = []

    def case(request: CaseRequest) -> CaseReply:
        asked.append(request)
        return runner.case(request)

    task = Task(Wanted("edge"), replace_starts(0), paths=scans * MOST_FILES)
    record = run_benchmark(task, runner=Runner(case=case, cold=runner.cold))
    assert len(asked[0].files) == record.n_files == MOST_FILES
    assert "evenly spread" in record.scans
    assert record.cases[0].cold is None


def test_of_several_cases_one_that_breaks_is_told(scans: tuple[str, ...], runner: Runner) -> None:
    def case(request: CaseRequest) -> CaseReply:
        if request.config.precision == broken:
            raise EngineFailed("it fell over")
        return runner.case(request)

    task = Task(Wanted("edge", engine=ALL), replace_starts(0), paths=scans)
    first = run_benchmark(task, runner=runner)
    assert len(first.cases) > 1
    chosen = plan(task.wanted, probe(), open_bundle("edge").manifest).cases[0].precision
    broken = next(p for p in ("fp32", "int8") if p != chosen)
    record = run_benchmark(task, runner=Runner(case=case))
    assert "it fell over" in {one.reason for one in record.skipped}
    broken = chosen
    with pytest.raises(EngineFailed, match="it fell over"):
        run_benchmark(task, runner=Runner(case=case))


def replace_starts(starts: int) -> Effort:
    return Effort(LITTLE.iterations, LITTLE.seconds, starts)


def test_a_folder_without_scans_is_refused(tmp_path: Path, runner: Runner) -> None:
    with pytest.raises(UsageError, match=re.escape(tmp_path.name)):
        run_benchmark(Task(Wanted("edge"), LITTLE, paths=(str(tmp_path),)), runner=runner)


def test_drawn_files_are_the_same_every_time(tmp_path: Path) -> None:
    first, second = (draw_files(tmp_path, 2), draw_files(tmp_path, 2))
    assert first == second
    sizes = {scan.pixels.shape for path in first for scan in read_path(path)}
    assert sizes == {(224, 224), (512, 512)}


def test_an_error_of_a_process_keeps_its_kind(scans: tuple[str, ...]) -> None:
    request = CaseRequest(replace_engine("none"), LITTLE, scans)
    with pytest.raises(UsageError, match="no engine 'none'"):
        launching.run_case(request)


def replace_engine(engine: str) -> Config:
    return Config("edge", engine, "int8", "cpu", 1, 4)


def test_a_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch, scans: tuple[str, ...]) -> None:
    monkeypatch.setattr(launching, "_CODE", "raise SystemExit('{module} fell over')")
    with pytest.raises(EngineFailed, match="fell over"):
        launching.run_case(CaseRequest(CONFIG, LITTLE, scans))


def benchmark(*words: str) -> int:
    little = ["--min-iterations", "20", "--min-seconds", "0", "--threads", "1"]
    return run(["benchmark", *words, *little])


def test_the_whole_command(scans: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="plots need the extra 'report'")
    first, report = tmp_path / "a.json", tmp_path / "report"
    words = ["--starts", "1", "--json", str(first), "--report", str(report), "--slices-per-exam", "10"]
    assert benchmark(*scans, *words) == 0
    out = capsys.readouterr().out
    assert "reads and reports a whole examination" in " ".join(out.split())
    assert "2 to 4" in out
    names = {"benchmark.json", "latency.png", "latency.svg", "scans_per_hour.png", "scans_per_hour.svg"}
    assert {path.name for path in report.iterdir()} == names
    assert (report / "latency.png").read_bytes().startswith(b"\x89PNG")
    record = read_record(first)
    assert record == read_record(report / "benchmark.json")
    case = record.cases[0]
    assert case.cold is not None
    assert len(case.cold.command_ms) == len(case.cold.load_ms) == 1
    assert case.cold.command_ms[0] > case.cold.first_ms[0] > 0
    assert case.setup.threads == 1
    assert run(["benchmark", "--compare", str(first), str(first)]) == 0
    assert "no clear difference" in " ".join(capsys.readouterr().out.split())


def test_a_comparison_in_a_pipe_has_whole_lines(
    scans: tuple[str, ...],
    runner: Runner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(to_json(run_benchmark(Task(Wanted("edge"), LITTLE, paths=scans), runner=runner)))
    monkeypatch.setenv("COLUMNS", "60")
    assert run(["benchmark", "--compare", str(path), str(path)]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if " 1x " in line]
    assert rows
    assert all("no clear difference" in row for row in rows)


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        (("--min-scans-per-hour", "1"), 0),
        (("--min-scans-per-hour", "1e12"), 1),
        (("--max-p95-ms", "1e9"), 0),
        (("--max-p95-ms", "1e-6"), 1),
    ],
)
def test_limits_become_the_exit_code(  # noqa: PLR0917 - fixtures
    limit: tuple[str, str],
    code: int,
    scans: tuple[str, ...],
    runner: Runner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("edgebrain.benchmark.run.Runner", lambda: runner)
    assert benchmark(*scans, *limit) == code
    assert ("too slow" in capsys.readouterr().err) == bool(code)


@pytest.mark.parametrize(
    "words",
    [["--split", "test"], ["--precision", "fp7"], ["--json", "no/such/folder/x.json"], ["--engine", "none"]],
    ids=" ".join,
)
def test_a_request_that_makes_no_sense_is_refused_before_measuring(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: Any) -> None:
        pytest.fail("something was measured")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgebrain.benchmark.run.Runner", lambda: Runner(case=fail, cold=fail))  # type: ignore[arg-type]
    assert benchmark(*words) == 2


def test_comparing_takes_no_scans(tmp_path: Path) -> None:
    assert run(["benchmark", "scan.png", "--compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert run(["benchmark", "--compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
