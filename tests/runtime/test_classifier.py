from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edgebrain import Classifier
from edgebrain.bundle import GraphSpec, manifest_tree
from edgebrain.decision import DecisionSpec
from edgebrain.errors import EngineFailed, EngineUnavailable, ScanError, UnreadableScan, UsageError
from edgebrain.phantom import SAMPLES, PhantomSpec, draw_phantom
from edgebrain.ready import refused
from edgebrain.seal import answer_sha256
from edgebrain.types import Float32, Image8, Precision, Triage

Pixels = npt.NDArray[Any]
MakeClassifier = Callable[..., Classifier]

GREY = draw_phantom(PhantomSpec(2, "hemisphere", side=90))
PNG = cv2.imencode(".png", GREY)[1].tobytes()


def test_the_record_says_what_answered(real: Classifier) -> None:
    prediction = real.classify(draw_phantom(SAMPLES[2]))
    (artifact,) = real.bundle.manifest.artifacts
    assert prediction.model is not None
    assert (prediction.model.id, prediction.model.version) == ("tiny", "1.0.0")
    answer_hash = answer_sha256(manifest_tree(real.bundle.manifest))
    assert prediction.model.sha256 == hashlib.sha256(f"{artifact.sha256} {answer_hash}".encode()).hexdigest()
    assert prediction.model.precision == "fp32"
    assert prediction.engine is not None
    assert (prediction.engine.name, prediction.engine.provider) == ("onnxruntime", "CPUExecutionProvider")
    assert prediction.engine.threads == 1
    timing = prediction.timing_ms
    assert timing.total == pytest.approx(timing.read + timing.preprocess + timing.infer, abs=0.01)
    assert timing.preprocess > 0
    assert timing.infer > 0


def test_a_coloured_picture_cannot_be_assessed(fake: Classifier) -> None:
    photo = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert fake.classify(photo).triage is Triage.CANNOT_ASSESS


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((1, 1), np.uint8), "1x1"),
        (np.zeros((64, 64), np.uint8), "nothing to see"),
        (np.full((64, 64), 255, np.uint8), "nothing to see"),
        (np.full((64, 64), 999, np.uint16), "nothing to see"),
        (np.full((64, 64), np.nan, np.float32), "not finite"),
    ],
)
def test_what_cannot_be_classified_is_refused_in_any_form(
    fake: Classifier, encode: Callable[[str, Pixels], bytes], tmp_path: Path, pixels: Pixels, words: str
) -> None:
    path = tmp_path / "scan.tif"
    path.write_bytes(encode(".tif", pixels))
    for source in (pixels, path, path.read_bytes()):
        with pytest.raises(ScanError, match=words):
            fake.classify(source)
    (row,) = fake.classify_many([path])
    assert row.status == "error"
    assert row.triage is None
    assert row.probabilities == {}
    assert row.error is not None
    assert row.error.code == "unsupported_scan"
    assert str(path) in row.error.message


@pytest.mark.parametrize("source", [b"", b"no image", PNG[:500]])
def test_broken_bytes(fake: Classifier, source: bytes) -> None:
    with pytest.raises(UnreadableScan, match="<bytes>"):
        fake.classify(source)


def test_a_missing_file(fake: Classifier, tmp_path: Path) -> None:
    with pytest.raises(UnreadableScan, match=r"gone\.png: there is no such file"):
        fake.classify(tmp_path / "gone.png")


def test_read_scans_wait_without_their_pixels(fake: Classifier) -> None:
    (ready,) = fake.read(draw_phantom(PhantomSpec(1, side=500)))
    assert ready.scan is not None
    assert ready.scan.pixels.size == 0
    assert ready.prepared is not None
    assert ready.prepared.image.nbytes == 32 * 32
    assert (ready.width, ready.height) == (500, 500)


def test_failed_scans_keep_their_place_in_a_batch(fake: Classifier) -> None:
    (good,) = fake.read(draw_phantom(PhantomSpec(1)))
    bad = refused("folder", UnreadableScan("folder: empty."))
    found = fake.predict([bad, good, bad, good, good])
    assert [p.status for p in found] == ["error", "ok", "error", "ok", "ok"]
    assert found[1].probabilities == found[4].probabilities
    assert fake.predict([bad])[0].status == "error"
    assert fake.predict([]) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_an_engine_failure(make_classifier: MakeClassifier, value: float) -> None:
    broken = make_classifier(lambda images: np.full((len(images), 4), value, np.float32))
    with pytest.raises(EngineFailed, match="not finite on FakeProvider"):
        broken.classify(GREY)


@pytest.mark.parametrize("shape", [(1, 3), (2, 4), (4,)])
def test_logits_that_do_not_match_the_labels_are_an_engine_failure(
    make_classifier: MakeClassifier, shape: tuple[int, ...]
) -> None:
    broken = make_classifier(lambda _: np.zeros(shape, np.float32))
    with pytest.raises(EngineFailed, match="instead of"):
        broken.classify(GREY)


def test_a_graph_of_fewer_labels_than_the_manifest(
    tmp_path: Path, tiny_graph: bytes, write_bundle: Callable[..., Path]
) -> None:
    folder = write_bundle(tmp_path / "b", tiny_graph, labels=("a", "no_tumor"))
    with pytest.raises(EngineFailed, match="logits"):
        Classifier.load(folder).classify(GREY)


def test_loading_by_name_uses_or_refuses(tiny_bundle: Path) -> None:
    assert Classifier.load(tiny_bundle, precision="fp32", engine="onnxruntime", device="cpu").choice.threads >= 1
    assert Classifier.load(str(tiny_bundle), precision=Precision.FP32).model.precision == "fp32"
    with pytest.raises(UsageError, match=r"no precision 'int4'.*fp32, fp16, int8"):
        Classifier.load(tiny_bundle, precision="int4")
    with pytest.raises(EngineUnavailable, match="int8 was asked for"):
        Classifier.load(tiny_bundle, precision="int8")
    with pytest.raises(EngineUnavailable, match="cannot run on 'cuda'"):
        Classifier.load(tiny_bundle, device="cuda")
    with pytest.raises(UsageError, match="no engine"):
        Classifier.load(tiny_bundle, engine="abacus")
    with pytest.raises(UsageError, match="threads"):
        Classifier.load(tiny_bundle, threads=0)


@pytest.mark.parametrize("wrong", [b"bytes of a file", GREY, 3, None])
def test_many_takes_paths_and_says_what_to_do_with_the_rest(fake: Classifier, tmp_path: Path, wrong: Any) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    found = fake.classify_many([tmp_path / "a.png", wrong])
    with pytest.raises(UsageError, match=rf"paths, not {type(wrong).__name__}.*classify\(\)"):
        list(found)


@pytest.mark.parametrize("wrong", ["scan.png", b"scan.png", Path("scan.png")])
def test_one_path_is_no_list_of_paths(fake: Classifier, wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"a list of paths.*classify\(\)"):
        fake.classify_many(wrong)


def test_a_closed_classifier_does_not_answer(real: Classifier) -> None:
    real.close()
    real.close()
    with pytest.raises(EngineFailed, match="closed"):
        real.classify(GREY)


# Pictures that are no brain MRI

OUTLIER = GraphSpec(outlier="outlier")


def says(*logits: float) -> Callable[[Image8], Float32]:
    """What an engine answers: one number for every image in its turn, the last one for all that follow."""
    return lambda images: np.array([logits[min(i, len(logits) - 1)] for i in range(len(images))], np.float32)


def sure_of_nothing(images: Image8) -> Float32:
    return np.tile(np.array([-9, -9, 9, -9], np.float32), (len(images), 1))


@pytest.mark.parametrize(
    ("logit", "triage"), [(3.0, Triage.CANNOT_ASSESS), (0.01, Triage.CANNOT_ASSESS), (-3.0, Triage.STANDARD)]
)
def test_the_outlier_score_is_in_the_record_and_decides(
    make_classifier: MakeClassifier, logit: float, triage: Triage
) -> None:
    classifier = make_classifier(sure_of_nothing, says(logit), graph=OUTLIER, decision=DecisionSpec(max_outlier=0.5))
    prediction = classifier.classify(GREY)
    assert prediction.outlier_score == pytest.approx(1 / (1 + math.exp(-logit)))
    assert prediction.triage is triage
    assert (prediction.label, prediction.status) == ("no_tumor", "ok")


def test_every_scan_of_a_batch_gets_its_own_score(make_classifier: MakeClassifier, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(PNG)
    (tmp_path / "b2.png").write_bytes(b"")
    classifier = make_classifier(
        sure_of_nothing, says(-4.0, 0.0, 4.0), graph=OUTLIER, decision=DecisionSpec(max_outlier=0.9)
    )
    found = list(classifier.classify_many(sorted(tmp_path.iterdir())))
    assert [p.status for p in found] == ["ok", "ok", "error", "ok"]
    scores = [p.outlier_score for p in found]
    assert scores[2] is None
    assert [score for score in scores if score is not None] == pytest.approx([0.018, 0.5, 0.982], abs=1e-3)


def test_a_model_without_the_output_gives_no_score(fake: Classifier) -> None:
    assert fake.classify(GREY).outlier_score is None


def test_an_output_without_a_limit_is_only_reported(make_classifier: MakeClassifier) -> None:
    prediction = make_classifier(sure_of_nothing, says(9.0), graph=OUTLIER, decision=DecisionSpec()).classify(GREY)
    assert prediction.triage is Triage.STANDARD
    assert prediction.outlier_score == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (says(math.nan), "gives outlier that are not finite"),
        (says(math.inf), "gives outlier that are not finite"),
        (lambda images: np.zeros((len(images), 1), np.float32), r"gives outlier \(1, 1\) instead of \(1,\)"),
        (lambda images: np.zeros(len(images) + 1, np.float32), r"gives outlier \(2,\) instead of \(1,\)"),
    ],
)
def test_no_answer_rests_on_a_broken_outlier_output(
    make_classifier: MakeClassifier, broken: Callable[[Image8], Float32], words: str
) -> None:
    classifier = make_classifier(sure_of_nothing, broken, graph=OUTLIER)
    with pytest.raises(EngineFailed, match=words):
        classifier.classify(GREY)


def test_an_engine_that_leaves_the_outlier_output_out(
    make_classifier: MakeClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = make_classifier(graph=OUTLIER)
    monkeypatch.setattr(classifier.engine, "run", lambda images: {"logits": sure_of_nothing(images)})
    with pytest.raises(EngineFailed, match="gives outlier nothing"):
        classifier.classify(GREY)


def test_a_real_graph_gives_the_score(
    tmp_path: Path, build_graph: Callable[..., bytes], write_bundle: Callable[..., Path]
) -> None:
    model = build_graph(outputs=("logits", "outlier"))
    folder = write_bundle(tmp_path / "b", model, graph=OUTLIER, decision=DecisionSpec(max_outlier=0.5))
    bright = np.full((64, 64), 200, np.uint8)
    bright[::2] = 180
    light, dark = (Classifier.load(folder, threads=1).classify(pixels) for pixels in (bright, GREY // 8))
    assert light.outlier_score is not None
    assert dark.outlier_score is not None
    assert light.outlier_score > 0.5 > dark.outlier_score
    assert light.triage is Triage.CANNOT_ASSESS
    assert "does not look like a brain MRI slice" in light.reasons[0]
