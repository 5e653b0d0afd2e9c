from __future__ import annotations

import numpy as np
import pytest

from edgebrain.evaluation.measure import evaluate_arrays


def test_macro_figures_are_those_of_torchmetrics() -> None:
    pytest.importorskip("torchmetrics")
    import torch
    from torchmetrics.functional import classification as tm

    rng = np.random.default_rng(0)
    labels = ("glioma", "meningioma", "no_tumor", "pituitary")
    truth = rng.integers(0, 4, 200)
    chances = rng.dirichlet(np.ones(4), 200)
    chances[np.arange(200), truth] += 0.4
    chances /= chances.sum(axis=1, keepdims=True)
    found = evaluate_arrays(labels, "no_tumor", [labels[k] for k in truth], chances, ["standard"] * 200, None)

    scores, targets = torch.from_numpy(chances), torch.from_numpy(truth)
    options = {"num_classes": 4, "average": "macro"}
    expected = {
        "macro_f1": tm.multiclass_f1_score(scores, targets, **options),
        "macro_f2": tm.multiclass_fbeta_score(scores, targets, beta=2.0, **options),
        "macro_precision": tm.multiclass_precision(scores, targets, **options),
        "balanced_accuracy": tm.multiclass_recall(scores, targets, **options),
        "macro_specificity": tm.multiclass_specificity(scores, targets, **options),
        "auroc": tm.multiclass_auroc(scores, targets, **options),
    }
    for name, value in expected.items():
        figure = getattr(found, name)
        assert figure.value == pytest.approx(float(value), abs=1e-6), name
        assert figure.low <= figure.value <= figure.high
        assert figure.low < figure.high
