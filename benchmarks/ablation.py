"""What each ingredient of the default model's training is worth: short runs that leave one out, measured alike.

Every run starts from the same weights, trains as the recipe says but for what its row leaves out, and is measured in
float32 on slices that none of them saw: the test split as it is and under a few stresses, tumours of another source,
healthy heads of other scanners, and pictures that are no brain MRI. The limit of the outlier score is the 99th
percentile on the validation split, run by run. A threshold can be moved and an order cannot, so that two columns say
how well tumours of another source are told from healthy slices of the test split, and from healthy heads of elsewhere
(areas under the ROC curve).

    python benchmarks/ablation.py --splits runs/edge/splits.csv --start runs/base/model.safetensors \
        --teacher runs/teacher/model.safetensors -o ablation/
    python benchmarks/ablation.py --splits splits.csv --splits third.csv --splits pictures/pictures.csv \
        --start runs/base/model.safetensors --measure "half of them=runs/half/model.safetensors" -o measured/

With ``--measure`` nothing is trained.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from edgebrain.errors import EdgebrainError, ScanError
from edgebrain.labelled import ANY_TUMOR, NO_TUMOR, NOT_BRAIN_MRI, Sample, read_labelled
from edgebrain.metrics import auroc
from edgebrain.preprocessing import prepare
from edgebrain.readers import read_middle
from edgebrain.stress.changes import apply, find_stress
from edgebrain.train.config import Recipe, load_recipe
from edgebrain.train.fit import fit
from edgebrain.train.models import load_model
from edgebrain.train.splits import one_vocabulary
from edgebrain.types import Float32, Image8

RECIPE = "edge-wide"
STRESSES = ("clahe_8", "gamma_2.2", "inverted", "rotated_90", "resolution_96", "noisy_10")
AWAY = ("test", "external")
"""Splits of scans from other places that no run trains on."""
VARIANTS: dict[str, tuple[str, ...]] = {
    "everything": (),
    "no teacher": ("distill.teacher=",),
    "no drawn lesions, no tumours of unknown kind": ("augment.lesion=0", "data.some_tumor=0"),
    "no mixup": ("augment.mixup=0",),
    "no change of grey levels": tuple(
        f"augment.{k}=0" for k in ("curve", "non_monotone", "invert", "clahe", "bias_field")
    ),
    "no change of geometry but mirrors": tuple(f"augment.{k}=0" for k in ("quarter_turn", "flip_vertical", "affine")),
    "no loss of quality": tuple(
        f"augment.{k}=0" for k in ("blur", "sharpen", "low_resolution", "noise", "jpeg", "marks")
    ),
    "no other pictures": ("data.outliers=0",),
}


class Answers(NamedTuple):
    """Probabilities [N, K] and outlier score [N] (0 without such an output) of N scans."""

    probabilities: Float32
    outlier: Float32

    @property
    def label(self) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """The likeliest label of each."""
        return np.asarray(self.probabilities.argmax(1), np.intp)


class Judged(NamedTuple):
    """Scans that judge every run, prepared once."""

    test: list[Sample]
    images: dict[str, Image8]


def prepared(samples: Sequence[Sample], recipe: Recipe, stress: str | None = None) -> Image8:
    """Scans as the network gets them, uint8 [n, H, W], after a stress if one is named; what is refused is left out."""

    def one(sample: Sample) -> Image8 | None:
        try:
            scan = read_middle(sample.path)
            if stress is not None:
                scan = replace(scan, pixels=apply(find_stress(stress), scan.pixels, scan.sha256))
            image: Image8 = prepare(scan, recipe.input).image[0]
        except ScanError:
            return None
        return image

    with ThreadPoolExecutor(2) as pool:
        images = [image for image in pool.map(one, samples) if image is not None]
    return np.stack(images) if images else np.empty((0, recipe.input.height, recipe.input.width), np.uint8)


def judged(samples: Sequence[Sample], recipe: Recipe) -> Judged:
    """Everything that judges: the test split, whole and under each stress, and what other places gave."""
    labels = set(recipe.data.labels)
    test = [s for s in samples if s.split == "test" and s.label in labels and not s.copy_of]
    sets = {
        "val": [s for s in samples if s.split == "val" and s.label in labels and not s.copy_of],
        "tumours elsewhere": [s for s in samples if s.split in AWAY and s.label == ANY_TUMOR and not s.copy_of],
        "healthy elsewhere": [s for s in samples if s.split == "external" and s.label == NO_TUMOR],
        "pictures": [s for s in samples if s.split == "test" and s.label == NOT_BRAIN_MRI],
    }
    images = {name: prepared(chosen, recipe) for name, chosen in sets.items() if chosen}
    images["clean"] = prepared(test, recipe)
    images |= {name: prepared(test, recipe, name) for name in STRESSES}
    return Judged(test, images)


def answers(model: Path, images: Image8) -> Answers:
    """Run a trained network in float32."""
    net = load_model(model).net
    probabilities, outliers = [], []
    with torch.inference_mode():
        for start in range(0, len(images), 128):
            out = net(torch.from_numpy(np.ascontiguousarray(images[start : start + 128, None])))
            probabilities.append(out.logits.softmax(1).numpy())
            outliers.append(np.zeros(len(out.logits), np.float32) if out.outlier is None else out.outlier.numpy())
    return Answers(np.concatenate(probabilities), np.concatenate(outliers))


def measure(model: Path, scans: Judged, recipe: Recipe) -> dict[str, float]:
    """Figures of one run, as shares."""
    truth = np.array([recipe.data.labels.index(s.label) for s in scans.test])
    found = {name: answers(model, images) for name, images in scans.images.items()}
    none = recipe.data.labels.index(NO_TUMOR)
    tumor = {name: 1 - one.probabilities[:, none] for name, one in found.items()}
    limit = np.quantile(found["val"].outlier, 0.99)
    figures = {name: float((found[name].label == truth).mean()) for name in ("clean", *STRESSES)}
    figures["no_tumor called no_tumor"] = float((found["clean"].label == none)[truth == none].mean())
    if "tumours elsewhere" in found:
        figures["tumours elsewhere called a tumour"] = float((found["tumours elsewhere"].label != none).mean())
        figures["their area against no_tumor"] = area(tumor["tumours elsewhere"], tumor["clean"][truth == none])
    if "healthy elsewhere" in found:
        figures["healthy elsewhere called no_tumor"] = float((found["healthy elsewhere"].label == none).mean())
    if {"tumours elsewhere", "healthy elsewhere"} <= set(found):
        figures["area of both"] = area(tumor["tumours elsewhere"], tumor["healthy elsewhere"])
    if "pictures" in found:
        figures["pictures accepted"] = float((found["pictures"].outlier <= limit).mean())
    return figures


def area(tumors: Float32, healthy: Float32) -> float:
    """Area under the ROC curve of the probability of any tumour."""
    positive = np.arange(len(tumors) + len(healthy)) < len(tumors)
    return auroc(positive, np.concatenate([tumors, healthy]).astype(np.float64))


def table(rows: dict[str, dict[str, float]]) -> str:
    """The figures in per cent, as Markdown."""
    columns = list(next(iter(rows.values())))
    lines = [f"| network | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    lines += [f"| {name} | {' | '.join(f'{100 * row[c]:.1f}' for c in columns)} |" for name, row in rows.items()]
    return "\n".join(lines)


def check_alike(model: Path, recipe: Recipe) -> None:
    """Refuse a network that cannot be asked what the others are asked; all get the preprocessing of the recipe.

    Raises:
        SystemExit: It is no trained network, or has other labels or an input of another size.
    """
    try:
        found = load_model(model).recipe
    except EdgebrainError as error:
        raise SystemExit(str(error)) from error
    theirs, ours = ((one.data.labels, one.input.height, one.input.width) for one in (found, recipe))
    if theirs != ours:
        raise SystemExit(f"{model} has other labels or an input of another size than {RECIPE}.")


def keep(rows: dict[str, dict[str, float]], record: Path) -> None:
    """Write the figures so far, and show them."""
    record.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print(table(rows), flush=True)


def arguments() -> argparse.Namespace:
    """Read the command line; ``trained`` has the pairs of ``--measure``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=Path, required=True, action="append", help="as edgebrain train takes them")
    parser.add_argument("--start", type=Path, required=True, help="model.safetensors of edge-base")
    work = parser.add_mutually_exclusive_group(required=True)
    work.add_argument("--teacher", type=Path, help="model.safetensors of the teacher, to train every row with")
    work.add_argument("--measure", action="append", default=[], metavar="NAME=FILE", help="a row of a trained model")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", choices=list(VARIANTS), help="a row to train; repeat for more")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the runs and of ablation.json")
    options = parser.parse_args()
    if options.measure and options.only:
        parser.error("--only names what to train, and with --measure nothing is trained")
    parts = [one.rpartition("=") for one in options.measure]
    options.trained = [(name, Path(file)) for name, _, file in parts]
    if missing := [file for name, file in options.trained if not (name and file.is_file())]:
        parser.error(f"--measure takes NAME=FILE; there is no such file: {missing[0]}")
    return options


def main() -> None:
    """Train, measure and print."""
    options = arguments()
    common = [f"start={options.start}", f"trainer.epochs={options.epochs}", f"seed={options.seed}"]
    if options.teacher:
        common.append(f"distill.teacher={options.teacher}")
    recipe = load_recipe(RECIPE, common)
    labels = recipe.data.labels
    for model in (options.start, *(file for _, file in options.trained)):
        check_alike(model, recipe)
    options.output.mkdir(parents=True, exist_ok=True)
    samples = one_vocabulary([s for path in options.splits for s in read_labelled(path, labels=labels)])
    scans = judged(samples, recipe)
    rows: dict[str, dict[str, float]] = {"(the start)": measure(options.start, scans, recipe)}
    record = options.output / "ablation.json"
    for name, file in options.trained:
        rows[name] = measure(file, scans, recipe)
        keep(rows, record)
    for name in (options.only or VARIANTS) if options.teacher else ():
        folder = options.output / name.replace(" ", "-").replace(",", "")
        changed = load_recipe(RECIPE, [*common, *VARIANTS[name]])
        if not (folder / "model.safetensors").is_file():
            fit(changed, samples, folder, resume=(folder / "checkpoints" / "last.ckpt").is_file())
        rows[name] = measure(folder / "model.safetensors", scans, changed)
        keep(rows, record)


if __name__ == "__main__":
    main()
