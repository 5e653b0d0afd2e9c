"""Write docs/reference/recipes.md from the recipes themselves: ``python docs/generate_recipes.py``.

Needs the extra ``train``: parameters are counted on the networks.
"""

from __future__ import annotations

from pathlib import Path

from edgebrain.train.commands import parameters_text
from edgebrain.train.config import load_recipe, recipe_names

PAGE = Path(__file__).parent / "reference" / "recipes.md"
HEAD = """# Recipes

Made by `python docs/generate_recipes.py`; do not edit. The files are in `train/recipes`; every value can be changed
with `--set`. Letters name the systems of the literature that a recipe reproduces. Accuracies in descriptions are what
those systems state; what was measured here stands elsewhere.

Parameters are those that learn / all; one number where all learn. Published architectures have one new linear layer on
averaged feature maps, so they have fewer than with their head of 1000 classes. Running statistics of batch
normalisation are not counted.

`--weights imagenet` (the default of these recipes) loads the library's own weights from its cache, or downloads them;
`--weights FILE` takes a state dict, `--weights none` starts at random.

| recipe | system | architecture | input | labels | parameters | what it is |
|---|---|---|---|---|--:|---|
"""


def render() -> str:
    """The page, as it should be."""
    return HEAD + "".join(row(name) for name in recipe_names())


def row(name: str) -> str:
    """The line of one recipe."""
    recipe = load_recipe(name)
    cells = (
        f"`{name}`",
        recipe.system,
        recipe.architecture,
        f"{recipe.input.width} x {recipe.input.height}",
        ", ".join(recipe.data.labels),
        parameters_text(recipe),
        recipe.description,
    )
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE}")
