"""What the kernel says of the board and its accelerators. Reads a few files; imports no library of a vendor."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_WITH_DLA = ("AGX Orin", "Orin NX", "AGX Xavier", "Xavier NX")
"""Jetson boards with deep-learning accelerators; Orin Nano and Thor have none."""


@dataclass(frozen=True)
class Board:
    """What is soldered on.

    Attributes:
        name: ``NVIDIA Jetson Orin Nano`` for instance; empty on a PC.
        l4t: Release of Jetson Linux, ``36.4.0`` for instance; empty elsewhere.
        gpu: Name of an NVIDIA GPU with a driver; empty if there is none to be seen.
        dla: Whether the board has a deep-learning accelerator.
    """

    name: str = ""
    l4t: str = ""
    gpu: str = ""
    dla: bool = False


def read_board(root: Path = Path("/")) -> Board:
    """Look at the board.

    Args:
        root: Where ``proc`` and ``etc`` are.
    """
    name = _read(root / "proc/device-tree/model").strip("\0\n ")
    jetson = "Jetson" in name
    gpu = _desktop_gpu(root) or ("integrated GPU of the Jetson" if jetson else "")
    return Board(name, _l4t(_read(root / "etc/nv_tegra_release")), gpu, any(known in name for known in _WITH_DLA))


def _l4t(text: str) -> str:
    # The file begins: hash sign, R36 (release), REVISION: 4.0, GCID and more.
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return f"{found[1]}.{found[2]}" if found else ""


def _desktop_gpu(root: Path) -> str:
    for path in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        found = re.search(r"^Model:\s*(.+)$", _read(path), re.MULTILINE)
        return found[1].strip() if found else "NVIDIA GPU"
    return ""


def _read(path: Path) -> str:
    # A fact that the kernel does not give is unknown, not an error.
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
