"""Held-out slices that every one of several networks gets wrong: what more of the same will not get right either.

A slice that one network mistakes and another does not is a matter of training. A slice that all of them mistake, of
other architectures and other first weights, is doubtful by itself: it is labelled wrongly, or shows too little.

    python benchmarks/shared_errors.py splits.csv runs/teacher/model.safetensors runs/base/model.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from ablation import answers, prepared

from edgebrain.errors import EdgebrainError
from edgebrain.labelled import read_labelled
from edgebrain.train.models import load_model


def main() -> int:
    """Print how many slices each network gets wrong, and which ones all of them do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("splits", type=Path, help="as edgebrain audit writes them")
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="model.safetensors of a run")
    parser.add_argument("--split", default="test", choices=("val", "test"))
    options = parser.parse_args()
    try:
        recipes = [load_model(model).recipe for model in options.models]
        labels = recipes[0].data.labels
        if any(recipe.data.labels != labels for recipe in recipes):
            raise SystemExit("The networks have other labels than each other.")
        known = read_labelled(options.splits, labels=labels)
    except EdgebrainError as error:
        raise SystemExit(str(error)) from error
    samples = [s for s in known if s.split == options.split and s.label in labels and not s.copy_of]
    if not samples:
        raise SystemExit(f"{options.splits} has no labelled scans in {options.split}.")
    truth = np.array([labels.index(s.label) for s in samples])
    wrong = []
    for model, recipe in zip(options.models, recipes, strict=True):
        images = prepared(samples, recipe)
        if len(images) != len(samples):
            raise SystemExit("Some of the scans cannot be read: 'edgebrain audit' names them.")
        found = answers(model, images).label
        wrong.append(found != truth)
        print(f"{wrong[-1].sum():4} of {len(samples)} wrong: {model}")
    together = np.all(wrong, axis=0)
    print(f"{together.sum():4} of {len(samples)} wrong in all of them")
    for index in np.flatnonzero(together):
        print(f"     {samples[index].label:12} {samples[index].path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
