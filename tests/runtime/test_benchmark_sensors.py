"""Energy, clocks and memory from trees that look like the kernel's."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebrain.benchmark import energy, memory, throttling
from edgebrain.benchmark.energy import Counter, Meter, Sensor, Supply, counted, find_sensor, idle_watts, integrated
from edgebrain.benchmark.record import Energy

RAPL = {
    "class/powercap/intel-rapl:0/name": "package-0",
    "class/powercap/intel-rapl:0/energy_uj": "1000",
    "class/powercap/intel-rapl:0/max_energy_range_uj": "5000",
    "class/powercap/intel-rapl:0:0/name": "core",
    "class/powercap/intel-rapl:0:0/energy_uj": "900",
    "class/powercap/intel-rapl:1/name": "psys",
    "class/powercap/intel-rapl:1/energy_uj": "70",
}
JETSON = {
    "class/hwmon/hwmon0/name": "cpu_thermal",
    "class/hwmon/hwmon1/name": "ina3221",
    "class/hwmon/hwmon1/in1_label": "VDD_IN",
    "class/hwmon/hwmon1/in1_input": "5000",
    "class/hwmon/hwmon1/curr1_input": "2000",
    "class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV",
    "class/hwmon/hwmon1/in2_input": "5000",
    "class/hwmon/hwmon1/curr2_input": "700",
}


def tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="ascii")
    return root


def test_packages_are_counted_once(tmp_path: Path) -> None:
    sensor, missing = find_sensor(tree(tmp_path, RAPL))
    assert missing == ""
    assert sensor is not None
    assert [c.path.parent.name for c in sensor.counters] == ["intel-rapl:0"]
    assert sensor.method.startswith("RAPL, 1")
    with Meter(sensor) as meter:
        (tmp_path / "class/powercap/intel-rapl:0/energy_uj").write_text("400\n", encoding="ascii")  # begun again
    assert meter.joules == pytest.approx(4400e-6)
    assert meter.seconds > 0


def test_a_supply_is_integrated(tmp_path: Path) -> None:
    sensor, _ = find_sensor(tree(tmp_path, JETSON))
    assert sensor is not None
    assert "VDD_IN" in sensor.method
    assert sensor.supply is not None
    assert sensor.supply.watts() == pytest.approx(10)
    assert idle_watts(sensor, 0.12) == pytest.approx(10, rel=0.2)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no sensor"),
        ({k: v for k, v in RAPL.items() if not k.endswith("0/energy_uj")}, "superuser"),
        ({k: v for k, v in JETSON.items() if not k.endswith("curr1_input")}, "may not read"),
        ({"class/hwmon/hwmon0/name": "ina3221"}, "no sensor"),
    ],
)
def test_no_sensor_is_a_reason_not_an_error(tmp_path: Path, files: Mapping[str, str], said: str) -> None:
    sensor, missing = find_sensor(tree(tmp_path, files))
    assert sensor is None
    assert said in missing


@given(st.integers(0, 4999), st.integers(0, 4999))
def test_a_counter_may_begin_again(before: int, used: int) -> None:
    assert counted(before, (before + used) % 5000, 5000) == used


@given(st.floats(0.1, 100), st.lists(st.floats(0.01, 1), min_size=1, max_size=20))
def test_constant_power_is_power_times_time(watts: float, steps: list[float]) -> None:
    times = [0.0, *itertools.accumulate(steps)]
    assert integrated(times, [watts] * len(times)) == pytest.approx(watts * times[-1])
    assert integrated(times[:1], [watts]) == 0


def test_idle_is_subtracted() -> None:
    used = Energy("a test", scans=100, seconds=2.0, joules=30.0, idle_watts=5.0)
    assert used.joules_per_scan == pytest.approx(0.2)
    assert used.gross_joules_per_scan == pytest.approx(0.3)
    meter = Meter(Sensor("a test"), joules=30.0, seconds=2.0)
    assert energy.energy_of(meter, 100, 5.0) == used


def test_sensors_read_numbers(tmp_path: Path) -> None:
    root = tree(tmp_path, {"e": "12", "v": "1000", "c": "500"})
    assert Counter(root / "e", 0).read() == 12
    assert Supply(root / "v", root / "c").watts() == pytest.approx(0.5)


def clocks(throttled: int, now: int, governor: str = "performance") -> dict[str, str]:
    cpu = "devices/system/cpu/cpu0"
    return {
        f"{cpu}/thermal_throttle/core_throttle_count": str(throttled),
        f"{cpu}/cpufreq/scaling_cur_freq": str(now),
        f"{cpu}/cpufreq/cpuinfo_max_freq": "2000000",
        f"{cpu}/cpufreq/scaling_governor": governor,
        "devices/system/cpu/cpufreq/none": "0",
        "class/thermal/thermal_zone0/temp": "91500",
    }


def test_throttling_is_noted(tmp_path: Path) -> None:
    before = throttling.look(tree(tmp_path, clocks(3, 1990000)))
    assert throttling.notes(before, before) == ()
    during = throttling.look(tree(tmp_path, clocks(5, 800000, "powersave")))
    assert during == throttling.Clocks(5, 0.4, 91.5, "powersave")
    said = throttling.notes(before, during)
    assert said[0] == "heat slowed the processor down 2 times during the run"
    assert "40%" in said[1]
    assert "powersave" in said[2]
    assert "92 degrees" in said[3]


def test_a_kernel_that_shows_nothing_is_no_error(tmp_path: Path) -> None:
    nothing = throttling.look(tmp_path)
    assert nothing == throttling.Clocks(None, None, None, "")
    assert throttling.notes(nothing, nothing) == ()
    assert memory.resident(tmp_path / "status") is None


def test_memory_is_read_from_the_kernel(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t   3000 kB\nVmRSS:\t   2000 kB\n", encoding="ascii")
    assert memory.resident(status) == pytest.approx(2.048)
    assert memory.peak(status) == pytest.approx(3.072)
