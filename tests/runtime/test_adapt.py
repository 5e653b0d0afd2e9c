"""Adapting on the device: what is learned, what is said of it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgebrain.adapt.run import Options, check_bundle, learn
from edgebrain.adapt.support import Support, contradictions, find_samples, read_support, warnings_of
from edgebrain.bundle import GraphSpec
from edgebrain.errors import UsageError
from edgebrain.heads import Head
from edgebrain.inner import Start, careful_temperature, inner_loop, leave_one_out
from edgebrain.labelled import Sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgebrain.classifier import Classifier
    from edgebrain.metrics import Indices
    from edgebrain.types import Float64, Image8

    Making = Callable[..., Classifier]


def draw(seed: int, *, left: bool) -> Image8:
    """A bright half on a dark one: the fake engine's embedding tells them apart."""
    image = np.random.default_rng(seed).integers(0, 60, (40, 40)).astype(np.uint8)
    image[:, slice(0, 20) if left else slice(20, 40)] += 150
    return image


def fill(root: Path, counts: dict[str, int]) -> Path:
    for number, (label, count) in enumerate(counts.items()):
        (root / label).mkdir(parents=True)
        for i in range(count):
            assert cv2.imwrite(str(root / label / f"{i}.png"), draw(100 * number + i, left=number % 2 == 0))
    return root


def support_of(classifier: Classifier, root: Path) -> Support:
    return read_support(classifier, find_samples(root, ()), lambda: None)


def made_up(labels: list[str], groups: list[int], **changes: object) -> Support:
    samples = tuple(Sample(f"{i}.png", label) for i, label in enumerate(labels))
    embedding = np.random.default_rng(0).normal(size=(len(labels), 4)).astype(np.float32)
    fields = {"strange": (), "unreadable": (), "digest": "", **changes}
    return Support(samples, embedding, np.array(groups, np.intp), **fields)  # type: ignore[arg-type]


def test_new_classes_are_told_apart(make_classifier: Making, tmp_path: Path) -> None:
    classifier = make_classifier()
    support = support_of(classifier, fill(tmp_path, {"metastasis": 6, "abscess": 6}))
    adapted = learn(classifier.bundle, support, Options())
    assert adapted.spec.labels == ("abscess", "metastasis")
    assert adapted.spec.negative_label is None
    assert adapted.accuracy.value == 1.0
    assert adapted.accuracy.low is not None
    assert 0.5 < adapted.accuracy.low < 1.0
    assert adapted.confusion == ((6, 0), (0, 6))
    assert adapted.warnings == ()
    assert adapted.head.logits(support.embedding).argmax(1).tolist() == [0] * 6 + [1] * 6


def test_a_folder_of_known_names_keeps_their_meaning(make_classifier: Making, tmp_path: Path) -> None:
    classifier = make_classifier()
    adapted = learn(classifier.bundle, support_of(classifier, fill(tmp_path, {"notumor": 2, "yes": 2})), Options())
    assert adapted.spec.labels == ("no_tumor", "tumor")
    assert adapted.spec.negative_label == "no_tumor"


def test_copies_share_a_group_and_are_said(make_classifier: Making, tmp_path: Path) -> None:
    fill(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "a" / "copy.png").write_bytes((tmp_path / "a" / "0.png").read_bytes())
    support = support_of(make_classifier(), tmp_path)
    assert np.unique(support.groups).size == 10
    assert any("1 of 11 scans repeats another one" in w for w in warnings_of(support))


def test_the_same_pixels_with_two_labels_are_refused(make_classifier: Making, tmp_path: Path) -> None:
    fill(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "b" / "copy.png").write_bytes((tmp_path / "a" / "0.png").read_bytes())
    classifier = make_classifier()
    support = support_of(classifier, tmp_path)
    clash = contradictions(support)
    assert clash == [f"{tmp_path / 'a' / '0.png'} (a) and {tmp_path / 'b' / 'copy.png'} (b)"]
    with pytest.raises(UsageError, match="two labels"):
        learn(classifier.bundle, support, Options())


def test_small_uneven_and_strange_supports_are_said() -> None:
    said = warnings_of(made_up(["a"] * 8 + ["b"] * 2, list(range(10)), strange=("x/odd.png",), unreadable=("gone",)))
    assert [w.split(":")[0] for w in said] == [
        "left out",
        "few independent scans",
        "unbalanced",
        "1 scan does not look like a brain MRI slice to the model, odd.png",
    ]
    assert warnings_of(made_up(["a"] * 5 + ["b"] * 5, list(range(10)))) == []


def test_what_is_stored_counts_files_and_names_none() -> None:
    support = made_up(["a"] * 5 + ["b"] * 5, list(range(10)), strange=("x/odd.png",) * 2, unreadable=("gone.png: no",))
    assert [w.split(":")[0] for w in warnings_of(support)] == [
        "left out",
        "2 scans do not look like a brain MRI slice to the model, odd.png for one",
    ]
    stored = " ".join(warnings_of(support, names=False))
    assert "1 scan that could not be read" in stored
    assert "2 scans do not look" in stored
    assert ".png" not in stored


def test_outliers_are_found_with_the_limit_of_the_model(make_classifier: Making, tmp_path: Path) -> None:
    strange = make_classifier(
        outlier=lambda images: np.where(images.mean((1, 2, 3)) > 0, 9.0, -9.0).astype(np.float32),
        graph=GraphSpec(embedding="embedding", embedding_size=16, outlier="outlier"),
    )
    assert len(support_of(strange, fill(tmp_path, {"a": 2, "b": 2})).strange) == 4


def manifest_of(folder: Path, splits: tuple[str, ...]) -> Path:
    """Twelve scans of two classes; the last two are a copy and a conflict."""
    fill(folder, {"glioma": 6, "meningioma": 6})
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    rows = [f"{f},{f.split('/')[0]},{splits[i % len(splits)]},,false" for i, f in enumerate(files[:10])]
    rows += [f"{files[10]},meningioma,{splits[0]},{files[9]},false", f"{files[11]},meningioma,{splits[0]},,true"]
    (folder / "splits.csv").write_text("\n".join(["path,label,split,copy_of,conflict", *rows]))
    return folder / "splits.csv"


def test_of_a_manifest_with_splits_the_training_scans_are_taken(tmp_path: Path) -> None:
    said: list[str] = []
    samples = find_samples(manifest_of(tmp_path, ("train", "test")), (), said.append)
    assert {sample.split for sample in samples} == {"train"}
    assert not any(sample.copy_of or sample.conflict for sample in samples)
    assert said == ["learning from 5 scans of 12: the split train alone, without 2 marked as a copy or a conflict"]


def test_a_manifest_without_splits_is_taken_but_for_its_copies(tmp_path: Path) -> None:
    said: list[str] = []
    assert len(find_samples(manifest_of(tmp_path, ("",)), (), said.append)) == 10
    assert said == ["learning from 10 scans of 12: without 2 marked as a copy or a conflict"]


def test_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one class only"):
        find_samples(fill(tmp_path, {"a": 3}), ())


def test_one_scan_of_a_class_is_refused(make_classifier: Making, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one independent scan of b"):
        support_of(make_classifier(), fill(tmp_path, {"a": 3, "b": 1}))


def test_a_class_that_cannot_be_read_is_refused(make_classifier: Making, tmp_path: Path) -> None:
    fill(tmp_path, {"a": 3, "b": 2})
    for path in (tmp_path / "b").iterdir():
        path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UsageError, match="No scan of b can be read"):
        support_of(make_classifier(), tmp_path)


def test_a_model_without_an_embedding_is_refused(make_classifier: Making) -> None:
    with pytest.raises(UsageError, match="no output 'embedding'"):
        check_bundle(make_classifier(graph=GraphSpec()).bundle)


def test_a_head_that_is_not_there_is_refused(make_classifier: Making, tmp_path: Path) -> None:
    classifier = make_classifier()
    support = support_of(classifier, fill(tmp_path, {"a": 2, "b": 2}))
    with pytest.raises(UsageError, match="no head 'x'"):
        learn(classifier.bundle, support, Options(head="x"))


def test_leaving_out_never_looks_at_the_scan_itself() -> None:
    rng = np.random.default_rng(1)
    features, targets = rng.normal(size=(12, 5)), np.repeat([0, 1], 6).astype(np.intp)
    groups = np.array([0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9], np.intp)
    start = Start(2, 0.5, 7)
    logits = leave_one_out(features, targets, groups, start)
    changed = targets.copy()
    changed[:2] = 1  # of group 0 alone
    assert np.array_equal(leave_one_out(features, changed, groups, start)[:2], logits[:2])
    weight, bias = inner_loop(features[2:], targets[2:], start)
    assert np.allclose(logits[:2], features[:2] @ weight.T + bias, rtol=0, atol=1e-12)


def test_a_scan_that_is_left_out_is_not_in_mean_and_scale_either(
    make_classifier: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    support = made_up(["a", "b"] * 3, list(range(6)))
    support.embedding[0] *= 100
    judged: list[Float64] = []

    def keeping(logits: Float64, targets: Indices, groups: Indices) -> float:
        judged.append(logits)
        return careful_temperature(logits, targets, groups)

    monkeypatch.setattr("edgebrain.adapt.run.careful_temperature", keeping)
    learn(make_classifier().bundle, support, Options(steps=2))
    rest = support.embedding[1:].astype(np.float64)
    head = Head(rest.mean(0), np.full(4, rest.std(0).mean()), np.zeros((2, 4)), np.zeros(2))
    weight, bias = inner_loop(head.features(rest), np.array([1, 0, 1, 0, 1]), Start(2, 1.0, 2))
    assert np.allclose(judged[0][0], head.features(support.embedding[:1])[0] @ weight.T + bias, rtol=0, atol=1e-9)


@pytest.mark.parametrize("copies", [1, 25])
@pytest.mark.parametrize("scans", [4, 10, 100])
def test_a_handful_of_right_answers_makes_no_certainty(scans: int, copies: int) -> None:
    groups = np.append(np.arange(scans), np.zeros(copies - 1, np.intp))
    targets = groups % 2
    logits = np.where(np.arange(2) == targets[:, None], 9.0, -9.0)
    temperature = careful_temperature(logits, targets, groups)
    sure = 1 / (1 + np.exp(-18 / temperature))
    assert sure == pytest.approx((scans + 1) / (scans + 2), abs=1e-4)


def test_copies_do_not_change_how_sure_an_adapted_model_is() -> None:
    rng = np.random.default_rng(4)
    targets = np.repeat([0, 1], 5).astype(np.intp)
    logits = np.where(np.arange(2) == targets[:, None], 6.0, -6.0) + rng.normal(size=(10, 2))
    groups = np.arange(10)
    alone = careful_temperature(logits, targets, groups)
    most = np.append(groups, [3] * 40)
    assert careful_temperature(logits[most], targets[most], groups[most]) == pytest.approx(alone, rel=1e-6)


def test_a_head_answers_the_same_in_any_batch() -> None:
    rng = np.random.default_rng(3)
    head = Head(rng.normal(size=16), np.full(16, 2.0), rng.normal(size=(3, 16)), rng.normal(size=3))
    embedding = rng.normal(size=(7, 16)).astype(np.float32)
    alone = np.concatenate([head.logits(embedding[i : i + 1]) for i in range(7)])
    assert np.array_equal(head.logits(embedding), alone)
