from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_recipes_is_up_to_date() -> None:
    page = runpy.run_path(str(ROOT / "docs/generate_recipes.py"))
    written = page["PAGE"].read_text(encoding="utf-8")
    assert written == page["render"](), "run: python docs/generate_recipes.py"
