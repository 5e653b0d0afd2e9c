"""A process that works when it is asked to, and uses no CPU in between, so that several can be measured in turn."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import IO


class Gone(Exception):
    """The process ended without an answer, or gave one that is none."""


class Served:
    """A process that answers every line on its standard input with a line of JSON.

    Args:
        command: Starts it. Its first line comes unasked, when it is ready.

    Raises:
        Gone: It ended before.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        self.first = self._read()

    def seconds(self) -> float:
        """Let it work once, and say how long that took it.

        Raises:
            Gone: It ended instead.
        """
        stdin = _stream(self._process.stdin)
        try:
            stdin.write("again\n")
            stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None
        return float(str(self._read()["seconds"]))

    def close(self) -> None:
        """End the process."""
        with suppress(BrokenPipeError):  # it has ended already
            _stream(self._process.stdin).close()
        self._process.wait()
        self._errors.close()

    def _read(self) -> dict[str, object]:
        line = _stream(self._process.stdout).readline()
        if not line:
            raise self._gone()
        try:
            answer: dict[str, object] = json.loads(line)
        except json.JSONDecodeError:
            self._process.kill()
            raise Gone(f"its process printed {line.strip()!r}") from None
        return answer

    def _gone(self) -> Gone:
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        return Gone(f"its process ended with {code}{': ' + said[-1] if said else ''}")


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
