"""TensorRT's module: loading it, and collecting what it says, which is the only place where it gives reasons."""

from __future__ import annotations

from typing import Any

from edgebrain.engines.trt_rules import meaning_of, too_old
from edgebrain.errors import EngineFailed, EngineUnavailable

_KEPT = 50
_SHOWN = 3


def load_tensorrt() -> Any:
    """Import TensorRT.

    Raises:
        EngineUnavailable: It is missing, cannot be loaded, or is older than 10.3.
    """
    try:
        import tensorrt
    except ImportError as error:
        raise EngineUnavailable(
            f"TensorRT cannot be loaded: {error}.",
            remedy=(
                "JetPack brings it (sudo apt install nvidia-jetpack), and an environment must see the system's "
                "packages. On the device, run: edgebrain doctor --engine tensorrt"
            ),
        ) from error
    if too_old(str(tensorrt.__version__)):
        raise EngineUnavailable(
            f"TensorRT {tensorrt.__version__} is too old; 10.3 is the first that edgebrain works with.",
            remedy="Upgrade JetPack to 6.1 or newer.",
        )
    return tensorrt


def collecting_logger(trt: Any) -> Any:
    """A logger that prints nothing and keeps warnings and errors in ``lines``."""
    limit = int(trt.ILogger.WARNING)

    class Collecting(trt.ILogger):  # type: ignore[misc] # its base class is only known here
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if int(severity) <= limit:  # the most serious have the lowest numbers
                self.lines = [*self.lines, str(msg)][-_KEPT:]

    return Collecting()


def failed(what: str, logger: Any, *, remedy: str | None = None) -> EngineFailed:
    """An error made of what TensorRT said.

    Args:
        what: What went wrong, a clause without full stop.
        logger: A collecting logger.
        remedy: The way out.
    """
    lines = list(dict.fromkeys(logger.lines))
    meaning = meaning_of(lines)
    said = " | ".join(lines[-_SHOWN:]) or "TensorRT gives no reason"
    return EngineFailed(f"{what}{f': {meaning}' if meaning else ''} ({said}).", remedy=remedy)
