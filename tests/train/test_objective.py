from __future__ import annotations

import math

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from edgebrain.train.config import DistillConfig, OptimizerConfig, Recipe, load_recipe
from edgebrain.train.edge import EdgeOutput
from edgebrain.train.objective import (
    OUTLIER_WEIGHT,
    UNIFORM_WEIGHT,
    Mixture,
    batch_loss,
    mix,
    outlier_target,
    some_tumor_target,
)

LABELS = ("glioma", "meningioma", "no_tumor", "pituitary")
K = len(LABELS)
NEGATIVE = LABELS.index("no_tumor")
OUTLIER, SOME = outlier_target(K), some_tumor_target(K)
SMOOTHING, WEIGHT, HEAT = 0.1, 0.6, 3.0


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return msgspec.structs.replace(
        load_recipe("edge"),
        optimizer=OptimizerConfig(label_smoothing=SMOOTHING),
        distill=DistillConfig(weight=WEIGHT, temperature=HEAT),
    )


def output(logits: Tensor, outlier: Tensor | None = None) -> EdgeOutput:
    n = len(logits)
    return EdgeOutput(logits, torch.zeros(n, 2), torch.zeros(n, K, 1, 1), outlier)


def scores(count: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(count, K, generator=torch.Generator().manual_seed(seed))


def shares(row: Tensor, heat: float = 1.0) -> list[float]:
    """Softmax, written out."""
    powers = [math.exp(float(v) / heat) for v in row]
    return [p / sum(powers) for p in powers]


def smoothed(row: Tensor, label: int) -> float:
    """Cross-entropy to a label that is softened, written out."""
    wanted = [SMOOTHING / K + (1 - SMOOTHING) * (k == label) for k in range(K)]
    return -sum(w * math.log(p) for w, p in zip(wanted, shares(row), strict=True))


def apart(row: Tensor, taught: Tensor) -> float:
    """What the student lacks of the teacher's answer, at the temperature and times its square, written out."""
    pairs = zip(shares(taught, HEAT), shares(row, HEAT), strict=True)
    return HEAT**2 * sum(t * math.log(t / s) for t, s in pairs)


@pytest.mark.parametrize("label", range(K))
def test_a_label_costs_its_softened_cross_entropy(recipe: Recipe, label: int) -> None:
    logits = scores(1)
    loss = float(batch_loss(output(logits), torch.tensor([label]), recipe))
    assert loss == pytest.approx(smoothed(logits[0], label), rel=1e-4)


def test_a_picture_should_look_like_every_label_alike(recipe: Recipe) -> None:
    logits = scores(1)
    loss = float(batch_loss(output(logits), torch.tensor([OUTLIER]), recipe))
    expected = -UNIFORM_WEIGHT * sum(math.log(p) for p in shares(logits[0])) / K
    assert loss == pytest.approx(expected, rel=1e-4)


def test_some_tumour_leaves_its_kind_open(recipe: Recipe) -> None:
    logits = scores(1)
    loss = float(batch_loss(output(logits), torch.tensor([SOME]), recipe))
    assert loss == pytest.approx(-math.log(1 - shares(logits[0])[NEGATIVE]), rel=1e-4, abs=1e-6)
    kinds = [k for k in range(K) if k != NEGATIVE]
    other = logits.clone()
    other[0, kinds] = logits[0, kinds[1:] + kinds[:1]]
    assert float(batch_loss(output(other), torch.tensor([SOME]), recipe)) == pytest.approx(loss, rel=1e-4)


def test_one_wrong_target_cannot_tear_at_the_weights(recipe: Recipe) -> None:
    sure = torch.zeros(1, K)
    sure[0, NEGATIVE] = 1000.0
    sure.requires_grad_()
    loss = batch_loss(output(sure), torch.tensor([SOME]), recipe)
    torch.autograd.backward(loss)
    assert float(loss.detach()) == pytest.approx(-math.log(1e-4), rel=1e-3)
    assert sure.grad is not None
    assert float(sure.grad.abs().max()) == 0


def test_a_batch_costs_the_mean_of_its_rows(recipe: Recipe) -> None:
    logits, targets = scores(6), torch.tensor([0, OUTLIER, 2, SOME, 3, OUTLIER])
    alone = [float(batch_loss(output(logits[i : i + 1]), targets[i : i + 1], recipe)) for i in range(6)]
    assert float(batch_loss(output(logits), targets, recipe)) == pytest.approx(sum(alone) / 6, rel=1e-4)


def test_the_outlier_output_should_be_high_on_pictures_alone(recipe: Recipe) -> None:
    logits, targets = scores(3), torch.tensor([1, OUTLIER, SOME])
    outlier = torch.tensor([-1.5, 0.5, 2.0])
    without = float(batch_loss(output(logits), targets, recipe))
    # Softplus of the logit costs a scan, of its negative a picture.
    expected = sum(math.log1p(math.exp(v)) for v in (-1.5, -0.5, 2.0)) / 3
    found = float(batch_loss(output(logits, outlier), targets, recipe))
    assert found - without == pytest.approx(OUTLIER_WEIGHT * expected, rel=1e-4)


def answer(label: int) -> Tensor:
    """A teacher that says this label, not all too sure."""
    taught = torch.tensor([[0.3, -0.2, 0.1, 0.4]])
    taught[0, label] = 2.0
    return taught


def test_a_teacher_that_is_right_has_its_share(recipe: Recipe) -> None:
    logits, targets = scores(1), torch.tensor([1])
    found = float(batch_loss(output(logits), targets, recipe, taught=answer(1)))
    expected = (1 - WEIGHT) * smoothed(logits[0], 1) + WEIGHT * apart(logits[0], answer(1)[0])
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("said", [0, 2, 3])
def test_a_teacher_that_is_wrong_counts_nothing(recipe: Recipe, said: int) -> None:
    logits, targets = scores(1), torch.tensor([1])
    found = float(batch_loss(output(logits), targets, recipe, taught=answer(said)))
    assert found == pytest.approx(smoothed(logits[0], 1), rel=1e-4)


@pytest.mark.parametrize("target", [OUTLIER, SOME])
def test_a_teacher_has_no_say_where_there_is_no_label(recipe: Recipe, target: int) -> None:
    logits, targets = scores(1), torch.tensor([target])
    plain = float(batch_loss(output(logits), targets, recipe))
    assert float(batch_loss(output(logits), targets, recipe, taught=answer(K - 1))) == plain


def test_a_student_that_answers_as_its_teacher_pays_for_the_label_alone(recipe: Recipe) -> None:
    found = float(batch_loss(output(answer(2)), torch.tensor([2]), recipe, taught=answer(2)))
    assert found == pytest.approx((1 - WEIGHT) * smoothed(answer(2)[0], 2), rel=1e-4)


def test_a_mixture_costs_its_shares_of_both_labels(recipe: Recipe) -> None:
    logits, targets = scores(2), torch.tensor([0, 3])
    mixture = Mixture(0.7, torch.tensor([1, 0]))
    rows = [
        0.7 * smoothed(logits[i], own) + 0.3 * smoothed(logits[i], other) for i, own, other in ((0, 0, 3), (1, 3, 0))
    ]
    found = float(batch_loss(output(logits), targets, recipe, mixture=mixture))
    assert found == pytest.approx(sum(rows) / 2, rel=1e-4)


@pytest.mark.parametrize(("said", "counts"), [(0, True), (3, True), (1, False)])
def test_of_a_mixture_the_teacher_may_name_either_label(recipe: Recipe, said: int, counts: bool) -> None:
    logits, targets = scores(2), torch.tensor([0, 3])
    mixture = Mixture(0.7, torch.tensor([1, 0]))
    plain = float(batch_loss(output(logits), targets, recipe, mixture=mixture))
    taught = answer(said).repeat(2, 1)
    lacking = sum(apart(row, answer(said)[0]) for row in logits) / 2
    expected = (1 - WEIGHT) * plain + WEIGHT * lacking if counts else plain
    assert float(batch_loss(output(logits), targets, recipe, taught=taught, mixture=mixture)) == pytest.approx(
        expected, rel=1e-4
    )


EXTREME = st.sampled_from([-1e30, -1e4, -100.0, 0.0, 1e-20, 3.0, 100.0, 1e4, 1e30])


@given(
    rows=st.lists(
        st.tuples(
            st.lists(EXTREME, min_size=K, max_size=K),
            st.lists(EXTREME, min_size=K, max_size=K),
            EXTREME,
            st.integers(0, SOME),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_no_logit_is_so_extreme_that_the_loss_or_its_slope_is_no_number(
    recipe: Recipe, rows: list[tuple[list[float], list[float], float, int]]
) -> None:
    logits, taught, outlier = (torch.tensor([row[i] for row in rows]) for i in range(3))
    logits.requires_grad_()
    loss = batch_loss(output(logits, outlier), torch.tensor([row[3] for row in rows]), recipe, taught=taught)
    torch.autograd.backward(loss)
    assert math.isfinite(float(loss.detach()))
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


@given(
    targets=st.lists(st.integers(0, SOME), min_size=1, max_size=12),
    seed=st.integers(0, 10_000),
    mixing=st.sampled_from([0.4, 1.0]),
)
def test_only_labelled_images_are_mixed_and_among_themselves(targets: list[int], seed: int, mixing: float) -> None:
    torch.manual_seed(seed)
    images = torch.randint(0, 256, (len(targets), 1, 4, 4), dtype=torch.uint8)
    wanted = torch.tensor(targets)
    mixed, (share, partner) = mix(images, wanted, K, mixing)
    assert mixed.dtype == torch.float32
    assert 0.5 <= share <= 1
    assert sorted(partner.tolist()) == list(range(len(targets)))
    labelled = wanted < K
    assert bool((wanted[partner[labelled]] < K).all())
    assert partner[~labelled].tolist() == torch.nonzero(~labelled).squeeze(1).tolist()
    torch.testing.assert_close(mixed[~labelled], images[~labelled].float(), atol=1e-3, rtol=0)
    pixels = images.double()
    torch.testing.assert_close(mixed.double(), share * pixels + (1 - share) * pixels[partner], atol=1e-3, rtol=0)


def test_images_are_really_mixed_and_the_share_varies() -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (8, 1, 4, 4), dtype=torch.uint8)
    mixed = [mix(images, torch.zeros(8, dtype=torch.int64), K, 0.4) for _ in range(20)]
    assert all(not torch.equal(pixels, images.float()) for pixels, _ in mixed)
    assert len({mixture.share for _, mixture in mixed}) == 20


def test_a_larger_parameter_mixes_more() -> None:
    torch.manual_seed(0)
    images, targets = torch.zeros((2, 1, 4, 4), dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    gentle, even = ([mix(images, targets, K, a)[1].share for _ in range(400)] for a in (0.4, 1.0))
    assert sum(gentle) / 400 > 0.8  # the mean of the larger share is 0.85 for Beta(0.4, 0.4)
    assert 0.72 < sum(even) / 400 < 0.78  # and three quarters where every share is as likely
