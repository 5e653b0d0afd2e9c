"""Energy sensors that the kernel shows: RAPL of x86 processors, INA monitors of Jetson boards.

RAPL counts the energy of whole processor packages (Khan et al., "RAPL in Action", ACM TOMPECS 2018); INA3221 monitors
give voltage and current of a board's supply, which are sampled and integrated. Both see other programs, too: what they
show before the run is taken as idle and subtracted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgebrain.benchmark.record import Energy

if TYPE_CHECKING:
    from typing_extensions import Self

SYS = Path("/sys")
IDLE_SECONDS = 2.0
PERIOD = 0.05
"""Seconds between two looks at a sensor of power. INA monitors of Jetson boards are read at about 20 Hz at most."""

_SUPPLY = ("VDD_IN", "POM_5V_IN", "5V_IN")  # labels of the whole board's supply, newest boards first


@dataclass(frozen=True)
class Counter:
    """Counts microjoules, and begins again at 0 after ``wraps``."""

    path: Path
    wraps: int

    def read(self) -> int:
        """Microjoules so far."""
        return int(self.path.read_text(encoding="ascii"))


@dataclass(frozen=True)
class Supply:
    """Voltage in mV and current in mA."""

    voltage: Path
    current: Path

    def watts(self) -> float:
        """Power now."""
        millivolts, milliamperes = (float(p.read_text(encoding="ascii")) for p in (self.voltage, self.current))
        return millivolts * milliamperes * 1e-6


@dataclass(frozen=True)
class Sensor:
    """What there is to measure energy with: counters, or else one supply.

    Attributes:
        method: Which sensors, and what they see.
        counters: Energy counters; their sum counts.
        supply: A board's supply.
    """

    method: str
    counters: tuple[Counter, ...] = ()
    supply: Supply | None = None


def find_sensor(root: Path = SYS) -> tuple[Sensor | None, str]:
    """Look for a sensor that this process may read.

    Args:
        root: Where the kernel shows devices.

    Returns:
        The sensor and an empty string, or None and why there is none.
    """
    packages = sorted(folder for folder in root.glob("class/powercap/intel-rapl:*") if folder.name.count(":") == 1)
    packages = [folder for folder in packages if _text(folder / "name").startswith("package")]
    counters = []
    for folder in packages:
        counter = Counter(folder / "energy_uj", int(_text(folder / "max_energy_range_uj") or 0))
        if not _works(counter.read):
            return None, f"energy is not measured: only the superuser may read {counter.path}"
        counters.append(counter)
    if counters:
        return Sensor(f"RAPL, {len(counters)} processor package(s), idle subtracted", counters=tuple(counters)), ""
    return _jetson(root)


def _jetson(root: Path) -> tuple[Sensor | None, str]:
    found: dict[str, Supply] = {}
    for folder in sorted(root.glob("class/hwmon/hwmon*")):
        if not _text(folder / "name").startswith("ina3221"):
            continue
        for label in sorted(folder.glob("in*_label")):
            number = label.name.removeprefix("in").removesuffix("_label")
            found[_text(label)] = Supply(folder / f"in{number}_input", folder / f"curr{number}_input")
    name = next((name for name in _SUPPLY if name in found), None)
    if name is None:
        return None, "energy is not measured: no sensor (RAPL, INA3221) is visible"
    if not _works(found[name].watts):
        return None, f"energy is not measured: this process may not read {found[name].current}"
    return Sensor(f"INA3221, supply {name} of the whole board, idle subtracted", supply=found[name]), ""


def _works(read: Callable[[], float]) -> bool:
    try:
        read()
    except (OSError, ValueError):
        return False
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def counted(before: int, after: int, wraps: int) -> int:
    """Microjoules between two readings of a counter that may have begun again once in between."""
    return after - before if after >= before else after - before + wraps


def integrated(times: Sequence[float], watts: Sequence[float]) -> float:
    """Joules under samples of power, by the trapezium rule; 0 for fewer than two samples."""
    steps = zip(times, times[1:], watts, watts[1:], strict=False)
    return sum((t1 - t0) * (w0 + w1) / 2 for t0, t1, w0, w1 in steps)


@dataclass
class Meter:
    """Measures while its block runs; ``joules`` and ``seconds`` are there afterwards."""

    sensor: Sensor
    period: float = PERIOD
    joules: float = 0.0
    seconds: float = 0.0
    _began: float = 0.0
    _first: list[int] = field(default_factory=list)
    _times: list[float] = field(default_factory=list)
    _watts: list[float] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        self._first = [counter.read() for counter in self.sensor.counters]
        if self.sensor.supply is not None:
            self._look(self.sensor.supply)
            self._thread = threading.Thread(target=self._watch, args=(self.sensor.supply,), daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        last = [counter.read() for counter in self.sensor.counters]
        self.seconds = time.perf_counter() - self._began
        pairs = zip(self._first, last, self.sensor.counters, strict=True)
        microjoules = sum(counted(first, end, counter.wraps) for first, end, counter in pairs)
        self.joules = microjoules / 1e6 + integrated(self._times, self._watts)

    def _watch(self, supply: Supply) -> None:
        while not self._end.wait(self.period):
            self._look(supply)
        self._look(supply)

    def _look(self, supply: Supply) -> None:
        self._watts.append(supply.watts())
        self._times.append(time.perf_counter() - self._began)


def idle_watts(sensor: Sensor, seconds: float = IDLE_SECONDS) -> float:
    """Power while this process waits."""
    with Meter(sensor) as meter:
        time.sleep(seconds)
    return meter.joules / meter.seconds


def energy_of(meter: Meter, scans: int, idle: float) -> Energy:
    """What a run of so many scans took."""
    return Energy(meter.sensor.method, scans, meter.seconds, meter.joules, idle)
