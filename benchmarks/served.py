"""A process that works when it is asked to, and uses no CPU in between, so that several can be measured in turn."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import IO


class Gone(Exception):
    """The process ended without an answer."""


class Served:
    """A process that answers every line on its standard input with a line of JSON.

    Args:
        command: Starts it. Its first line comes unasked, when it is ready.

    Raises:
        Gone: It ended before.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.first = self._read()

    def seconds(self) -> float:
        """Let it work once, and say how long that took it.

        Raises:
            Gone: It ended instead.
        """
        stdin = _stream(self._process.stdin)
        stdin.write("again\n")
        stdin.flush()
        return float(str(self._read()["seconds"]))

    def close(self) -> None:
        """End the process."""
        _stream(self._process.stdin).close()
        self._process.wait()

    def _read(self) -> dict[str, object]:
        line = _stream(self._process.stdout).readline()
        if not line:
            raise Gone(f"its process ended with {self._process.wait()}")
        answer: dict[str, object] = json.loads(line)
        return answer


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
