"""Start commands in turn, and tell what each start cost.

It imports next to nothing: the kernel counts the memory of the process that starts a command towards the command's
peak, so that a large one would hide what is measured. The request comes as JSON on standard input, samples go out so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

KIB = 1024


def start(command: list[str]) -> dict[str, float]:
    """Run a command to its end.

    Returns:
        Wall and CPU time in milliseconds, and peak resident memory in MB.

    Raises:
        SystemExit: The command failed.
    """
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    if status != 0:
        raise SystemExit(f"failed: {' '.join(command)}")
    return {
        "wall": wall * 1e3,
        "cpu": (used.ru_utime + used.ru_stime) * 1e3,
        "memory": used.ru_maxrss * KIB / 1e6,
    }


def main() -> None:
    """Serve one request: ``{"commands": {name: command}, "rounds": n}``."""
    request = json.load(sys.stdin)
    commands: dict[str, list[str]] = request["commands"]
    for command in commands.values():
        start(command)  # fills the page cache and the compiled modules
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for turn in range(request["rounds"]):
        # Every other round runs backwards, so that no command always comes after the same one.
        for name in list(commands)[:: -1 if turn % 2 else 1]:
            samples[name].append(start(commands[name]))
    json.dump(samples, sys.stdout)


if __name__ == "__main__":
    main()
