"""How many CPUs there are to use: the runtime's threads and those of training are counted alike."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs that this process may use: the affinity mask, limited by the cgroup quota (v2, then v1), at least 1.

    Args:
        cgroup: Where control groups are mounted.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, allowed if quota is None else min(allowed, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    limits = []
    # The process sees its own group as the root in a container; on a host the path is in /proc/self/cgroup.
    own = next((line[3:].strip("/") for line in _read(Path("/proc/self/cgroup")).splitlines() if line[:3] == "0::"), "")
    for folder in {cgroup, *((cgroup / own).parents if own else ()), cgroup / own}:
        if cgroup not in (folder, *folder.parents):
            continue
        fields = _read(folder / "cpu.max").split()
        if len(fields) == 2 and fields[0] != "max":  # noqa: PLR2004 - quota and period
            limits.append(int(fields[0]) / int(fields[1]))
    v1 = (_read(cgroup / "cpu" / "cpu.cfs_quota_us"), _read(cgroup / "cpu" / "cpu.cfs_period_us"))
    if v1[0].strip() and v1[1].strip() and int(v1[0]) > 0:
        limits.append(int(v1[0]) / int(v1[1]))
    return min(limits) if limits else None


def _read(path: Path) -> str:
    # A limit that the kernel does not tell is none.
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
