"""Whether the machine slowed itself down during a run: what the kernel says of clocks and heat, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SYS = Path("/sys")
SLOW = 0.8
"""Share of the highest clock below which a loaded processor is worth a note."""


@dataclass(frozen=True)
class Clocks:
    """One look.

    Attributes:
        throttled: Times that cores were slowed down by heat so far; None where the kernel does not count.
        share: Slowest current clock of a CPU as a share of its highest; None where clocks are not shown.
        celsius: Warmest thermal zone; None without any.
        governor: How clocks are chosen, ``powersave`` for instance; empty if unknown.
    """

    throttled: int | None
    share: float | None
    celsius: float | None
    governor: str


def look(root: Path = SYS) -> Clocks:
    """Look at clocks and heat now.

    Args:
        root: Where the kernel shows devices.
    """
    cpus = [folder for folder in root.glob("devices/system/cpu/cpu[0-9]*") if folder.is_dir()]
    counts = [_number(cpu / "thermal_throttle" / "core_throttle_count") for cpu in cpus]
    clocks = [(_number(cpu / "cpufreq/scaling_cur_freq"), _number(cpu / "cpufreq/cpuinfo_max_freq")) for cpu in cpus]
    shares = [now / highest for now, highest in clocks if now is not None and highest]
    heat = [_number(zone) for zone in root.glob("class/thermal/thermal_zone*/temp")]
    known = [count for count in counts if count is not None]
    warm = [value / 1000 for value in heat if value is not None]
    return Clocks(
        throttled=int(sum(known)) if known else None,
        share=min(shares, default=None),
        celsius=max(warm, default=None),
        governor=_text(root / "devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    )


def notes(before: Clocks, during: Clocks) -> tuple[str, ...]:
    """What a reader of the figures must know.

    Args:
        before: A look before the run.
        during: A look at its end, while it was still under load.
    """
    found = []
    if before.throttled is not None and during.throttled is not None and during.throttled > before.throttled:
        found.append(f"heat slowed the processor down {during.throttled - before.throttled} times during the run")
    if during.share is not None and during.share < SLOW:
        found.append(f"under load a CPU ran at {during.share:.0%} of its highest clock")
    if during.governor == "powersave":
        found.append("the clock governor is 'powersave'")
    if found and during.celsius is not None:
        found.append(f"the warmest sensor showed {during.celsius:.0f} degrees Celsius")
    return tuple(found)


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None


def _text(path: Path) -> str:
    # What the kernel does not show is unknown, not an error.
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
