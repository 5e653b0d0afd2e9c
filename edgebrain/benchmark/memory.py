"""Memory of this process as the kernel sees it."""

from __future__ import annotations

from pathlib import Path

SELF = Path("/proc/self/status")
_KIB = 1024


def resident(status: Path = SELF) -> float | None:
    """Resident memory of this process in MB; None where the kernel does not say."""
    return _field(status, "VmRSS:")


def peak(status: Path = SELF) -> float | None:
    """Largest resident memory of this process so far in MB; ``getrusage`` would count its parent in."""
    return _field(status, "VmHWM:")


def _field(status: Path, name: str) -> float | None:
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * _KIB / 1e6 for line in lines if line.startswith(name)), None)
