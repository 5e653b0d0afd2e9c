"""Run one measure in a process of its own. Usage: child.py MEASURE PLAN.json FINDINGS.json."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

import msgspec
from plan import Plan


def main() -> None:
    """Read the plan, measure, write the findings."""
    name, plan, findings = sys.argv[1:]
    found = importlib.import_module(name).measure(msgspec.json.decode(Path(plan).read_bytes(), type=Plan))
    Path(findings).write_text(json.dumps(asdict(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
