from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgebrain import cpus
from edgebrain import facts as machine
from edgebrain.board import Board
from edgebrain.bundle import Artifact, Manifest
from edgebrain.cpus import usable_cpus
from edgebrain.device import Facts, Request, candidates_of, choose, probe
from edgebrain.errors import EngineUnavailable, UsageError
from edgebrain.limits import MAX_THREADS
from edgebrain.types import Precision

FP32, INT8, FP16 = (
    Artifact(f"model.{precision}.onnx", "onnxruntime", Precision(precision), "0" * 64, 1)
    for precision in ("fp32", "int8", "fp16")
)
OTHER = Artifact("model.plan", "abacus", Precision.INT8, "0" * 64, 1)
MISSING = {"openvino": "the Python module 'openvino' is not installed", "tensorrt": "there is no TensorRT"}
PLAIN = Facts("x86_64", "A CPU", 6, frozenset(), 1 << 34, "", MISSING)
VNNI = replace(PLAIN, int8_flags=frozenset({"avx512_vnni"}))
EIGHT_CPUS = 8


@pytest.fixture
def manifest(make_manifest: Callable[..., Manifest]) -> Manifest:
    return make_manifest(artifacts=(FP32, INT8, OTHER))


# The choice


@pytest.mark.parametrize(
    ("facts", "request_", "expected", "why"),
    [
        (VNNI, Request(), INT8, "avx512_vnni"),
        (PLAIN, Request(), FP32, "saturates"),
        (VNNI, Request(precision=Precision.FP32), FP32, "asked for"),
        (PLAIN, Request(precision=Precision.INT8), INT8, "asked for"),
        (VNNI, Request(engine="onnxruntime", device="cpu"), INT8, "avx512_vnni"),
    ],
)
def test_the_choice_and_why(facts: Facts, request_: Request, expected: Artifact, why: str, manifest: Manifest) -> None:
    choice = choose(facts, request_, manifest)
    assert choice.artifact is expected
    assert why in choice.reasons[0]
    assert choice.device == "cpu"
    assert (choice.threads, choice.reasons[1]) == (6, "6 threads: the CPUs this process may use")


@pytest.mark.parametrize("facts", [PLAIN, VNNI])
@pytest.mark.parametrize("precision", [None, Precision.FP32, Precision.INT8])
def test_every_candidate_that_was_not_taken_has_its_reason(
    facts: Facts, precision: Precision | None, make_manifest: Callable[..., Manifest]
) -> None:
    artifacts = (FP32, INT8, OTHER, replace_file(FP32, "second.onnx"), FP16)
    choice = choose(facts, Request(precision=precision), make_manifest(artifacts=artifacts))
    ways = [str(way) for way in candidates_of(make_manifest(artifacts=artifacts), Request())]
    left = [way for way in ways if way != f"{choice.artifact.file} with {choice.engine}"]
    assert len(left) == len(ways) - 1 == len(choice.rejected)
    for way in left:
        (text,) = [r for r in choice.rejected if r.startswith(f"{way}: ")]
        assert len(text) > len(f"{way}: ")


def replace_file(artifact: Artifact, file: str) -> Artifact:
    return Artifact(file, artifact.engine, artifact.precision, artifact.sha256, artifact.bytes)


def test_of_two_files_of_one_precision_the_first_is_taken(make_manifest: Callable[..., Manifest]) -> None:
    second = replace_file(FP32, "second.onnx")
    choice = choose(PLAIN, Request(), make_manifest(artifacts=(FP32, second)))
    assert choice.artifact is FP32
    assert [r for r in choice.rejected if "with onnxruntime" in r] == [
        "second.onnx with onnxruntime: usable, but the model names model.fp32.onnx with onnxruntime first",
    ]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(precision=Precision.FP16), "fp16 was asked for"),
        (Request(device="npu"), "does not run on 'npu'"),
        (Request(device="dla"), "does not run on 'dla'"),
        (Request(device="cpu:0"), "does not run on 'cpu:0'"),
    ],
)
def test_what_was_asked_for_is_refused_and_not_replaced(request_: Request, words: str, manifest: Manifest) -> None:
    with pytest.raises(EngineUnavailable, match="edgebrain doctor") as caught:
        choose(VNNI, request_, manifest)
    for artifact in (FP32, INT8, OTHER):
        assert artifact.file in caught.value.message
    assert words in caught.value.message
    assert caught.value.exit_code == 3


def test_an_engine_that_is_not_installed_is_not_used(manifest: Manifest) -> None:
    facts = replace(VNNI, unavailable=MISSING | {"onnxruntime": "the Python module 'onnxruntime' is not installed"})
    with pytest.raises(EngineUnavailable, match="'onnxruntime' is not installed"):
        choose(facts, Request(), manifest)


def test_a_file_for_an_engine_of_the_future_is_left_alone(make_manifest: Callable[..., Manifest]) -> None:
    choice = choose(PLAIN, Request(), make_manifest(artifacts=(OTHER, FP32)))
    assert choice.artifact is FP32
    assert choice.rejected[0] == "model.plan with abacus: this edgebrain has no such engine"


def test_names_that_do_not_exist_are_usage_errors(manifest: Manifest) -> None:
    with pytest.raises(UsageError, match=r"no engine 'abacus'.*Known: onnxruntime"):
        choose(VNNI, Request(engine="abacus"), manifest)
    for threads in (0, -3, MAX_THREADS + 1, 1 << 16):
        with pytest.raises(UsageError, match=f"--threads {threads}"):
            choose(VNNI, Request(threads=threads), manifest)


def test_threads_that_were_asked_for_are_used(manifest: Manifest) -> None:
    choice = choose(VNNI, Request(threads=3), manifest)
    assert (choice.threads, choice.reasons[1]) == (3, "3 threads: asked for")
    assert choose(VNNI, Request(threads=MAX_THREADS), manifest).threads == MAX_THREADS


def test_a_machine_with_more_cpus_than_the_limit_uses_the_limit(manifest: Manifest) -> None:
    assert choose(replace(VNNI, cpus=MAX_THREADS + 1), Request(), manifest).threads == MAX_THREADS


# The machine


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(EIGHT_CPUS)), raising=False)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", 8),
        ("50000 100000\n", 1),
        ("100000 100000\n", 1),
        ("150000 100000\n", 2),
        ("300000 100000\n", 3),
        ("1000 100000\n", 1),
        ("9999999 100000\n", 8),
        ("", 8),
        ("max", 8),
    ],
)
def test_cgroup_v2(tmp_path: Path, text: str, expected: int) -> None:
    write(tmp_path / "cpu.max", text)
    assert usable_cpus(tmp_path) == expected


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize(
    ("quota", "period", "expected"), [("-1\n", "100000\n", 8), ("250000\n", "100000\n", 3), ("50000\n", "100000\n", 1)]
)
def test_cgroup_v1(tmp_path: Path, quota: str, period: str, expected: int) -> None:
    write(tmp_path / "cpu" / "cpu.cfs_quota_us", quota)
    write(tmp_path / "cpu" / "cpu.cfs_period_us", period)
    assert usable_cpus(tmp_path) == expected


@pytest.mark.usefixtures("eight_cpus")
def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == EIGHT_CPUS
    assert usable_cpus(tmp_path / "nowhere") == EIGHT_CPUS


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize("limited", ["system.slice/a.service", "system.slice", ""])
def test_the_tightest_limit_on_the_way_to_the_own_group_counts(
    tmp_path: Path, limited: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cpus._read
    own = "12:cpuset:/x\n0::/system.slice/a.service\n"
    monkeypatch.setattr(cpus, "_read", lambda path: own if path == Path("/proc/self/cgroup") else real(path))
    for folder in ("system.slice/a.service", "system.slice", ""):
        write(tmp_path / folder / "cpu.max", "200000 100000" if folder == limited else "max 100000")
    write(tmp_path / "system.slice" / "neighbour" / "cpu.max", "1000 100000")
    write(tmp_path.parent / "cpu.max", "1000 100000")
    assert usable_cpus(tmp_path) == 2


def test_the_real_machine_has_a_cpu() -> None:
    facts = probe()
    assert 1 <= facts.cpus <= (os.cpu_count() or 1)
    assert facts.machine
    assert "onnxruntime" not in facts.unavailable


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the kernel's files")
def test_the_real_machine_has_memory() -> None:
    assert probe().memory_bytes > 1 << 26


@pytest.mark.parametrize(
    ("cpuinfo", "name", "flags"),
    [
        (
            (
                "processor\t: 0\nmodel name\t: Some Xeon\nflags\t\t: fpu avx512_vnni sse\n"
                "\nprocessor\t: 1\nflags\t: amx_int8\n"
            ),
            "Some Xeon",
            {"avx512_vnni"},
        ),
        ("processor\t: 0\nBogoMIPS\t: 31.25\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\n", "", {"asimddp"}),
        ("processor\t: 0\nmodel name\t: Old: one\nflags\t\t: fpu sse2\n", "Old: one", set()),
        ("", "", set()),
    ],
)
def test_processors(cpuinfo: str, name: str, flags: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        Path("/proc/cpuinfo"): cpuinfo,
        Path("/proc/meminfo"): "MemFree: 5 kB\nMemTotal:       7990000 kB\n",
    }
    monkeypatch.setattr(machine, "_read", lambda path: files.get(path, ""))
    monkeypatch.setattr(machine, "read_board", lambda: Board("NVIDIA Jetson Orin Nano"))
    facts = probe()
    assert facts.cpu == name
    assert set(facts.int8_flags) == flags
    assert facts.board == "NVIDIA Jetson Orin Nano"
    assert facts.memory_bytes == 7990000 * 1024
