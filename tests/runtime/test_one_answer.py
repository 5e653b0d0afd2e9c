"""One scan has one answer: as a path, bytes or an array, alone or in any batch, in any depth and scale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgebrain import Classifier
from edgebrain.errors import ScanError
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.preprocessing import MIN_SIDE
from edgebrain.types import Prediction

Pixels = npt.NDArray[Any]
MakeClassifier = Callable[..., Classifier]
Encode = Callable[[str, Pixels], bytes]

DTYPES = st.sampled_from(["uint8", "uint16", "float16", "float32", "float64"])
SIDES = st.integers(MIN_SIDE - 1, 40)
SHAPES = st.tuples(SIDES, SIDES) | st.tuples(SIDES, SIDES, st.sampled_from([1, 3, 4])) | hnp.array_shapes(max_side=4)
PICTURES = st.tuples(SIDES, SIDES) | st.tuples(SIDES, SIDES, st.just(3))


def answer(prediction: Prediction) -> tuple[object, ...]:
    return (
        prediction.label,
        prediction.probabilities,
        prediction.tumor_probability,
        prediction.triage,
        prediction.reasons,
        prediction.warnings,
    )


@settings(suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow])
@given(pixels=DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, SHAPES)))
def test_any_array_gives_probabilities_that_sum_to_one_or_a_clear_refusal(
    make_classifier: MakeClassifier, pixels: Pixels
) -> None:
    try:
        prediction = make_classifier().classify(pixels)
    except ScanError as error:
        refusal = error
    else:
        assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-9)
        assert prediction.triage is not None
        assert prediction.reasons
        return
    assert "<array>" in refusal.message
    assert refusal.remedy


GREY = draw_phantom(PhantomSpec(2, "hemisphere", side=90))
RGB = np.dstack([GREY, np.roll(GREY, 9, 0), GREY // 2])


@pytest.fixture(params=["fake", "real"])
def classifier(request: pytest.FixtureRequest) -> Classifier:
    found: Classifier = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize(
    ("pixels", "suffix"),
    [
        (GREY, ".png"),
        (GREY, ".bmp"),
        (GREY, ".tif"),
        (GREY.astype(np.uint16) * 201 + 7, ".png"),
        (GREY.astype(np.uint16) * 201 + 7, ".tif"),
        (GREY.astype(np.float32) / 255, ".tif"),
        (RGB, ".png"),
        (RGB.astype(np.uint16) * 257, ".png"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.dtype}-{value.ndim}d",
)
def test_path_bytes_and_array_give_the_same_answer(
    classifier: Classifier, pixels: Pixels, suffix: str, encode: Encode, tmp_path: Path
) -> None:
    path = tmp_path / f"scan{suffix}"
    path.write_bytes(encode(suffix, pixels))
    from_path, from_text, from_bytes, from_array = (
        classifier.classify(source) for source in (path, str(path), path.read_bytes(), pixels)
    )
    assert answer(from_path) == answer(from_text) == answer(from_bytes) == answer(from_array)
    assert (from_path.path, from_bytes.path, from_array.path) == (str(path), "<bytes>", "<array>")
    assert from_path.input == from_bytes.input
    assert from_path.input is not None
    assert from_array.input is not None
    assert (from_path.input.width, from_path.input.height) == (90, 90)
    assert from_path.input.intensity == from_array.input.intensity


def test_a_jpeg_is_the_same_from_path_and_bytes(fake: Classifier, encode: Encode, tmp_path: Path) -> None:
    (tmp_path / "scan").write_bytes(encode(".jpg", GREY))
    assert answer(fake.classify(tmp_path / "scan")) == answer(fake.classify((tmp_path / "scan").read_bytes()))


@pytest.mark.parametrize("which", ["fake", "real"])
def test_batch_size_and_order_change_no_answer(
    which: str, encode: Encode, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    classifier: Classifier = request.getfixturevalue(which)
    paths = []
    for index in range(11):
        paths.append(tmp_path / f"{index}.png")
        paths[-1].write_bytes(encode(".png", draw_phantom(PhantomSpec(index, side=64 + index))))
    alone = {str(path): classifier.classify(path) for path in paths}
    for batch_size in (1, 2, 5, 50):
        for order in (paths, paths[::-1], paths[5:] + paths[:5]):
            found = list(classifier.classify_many(order, batch_size=batch_size, readers=2))
            assert [p.path for p in found] == [str(path) for path in order]
            for prediction in found:
                expected = alone[prediction.path]
                assert prediction.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
                assert (prediction.label, prediction.triage) == (expected.label, expected.triage)
                if which == "fake":
                    assert answer(prediction) == answer(expected)


def outcome(classifier: Classifier, source: Any) -> tuple[object, ...]:
    """The answer, or why there is none."""
    try:
        return answer(classifier.classify(source))
    except ScanError as error:
        return (type(error), error.code)


@given(
    pixels=st.sampled_from(["uint8", "uint16"]).flatmap(lambda dtype: hnp.arrays(dtype, PICTURES)),
    suffix=st.sampled_from([".png", ".tif"]),
)
def test_any_pixels_get_one_answer_from_path_bytes_and_array(
    make_classifier: MakeClassifier,
    encode: Encode,
    tmp_path_factory: pytest.TempPathFactory,
    pixels: Pixels,
    suffix: str,
) -> None:
    classifier, path = make_classifier(), tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(encode(suffix, pixels))
    assert outcome(classifier, path) == outcome(classifier, path.read_bytes()) == outcome(classifier, pixels)


@given(pixels=hnp.arrays("uint8", st.tuples(SIDES, SIDES)), in_color=st.booleans(), tables=st.integers(0, 1))
def test_any_grey_jpeg_gets_the_answer_of_its_pixels(
    make_classifier: MakeClassifier, pixels: Pixels, in_color: bool, tables: int
) -> None:
    stored = np.dstack([pixels] * 3) if in_color else pixels
    ok, data = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_OPTIMIZE, tables])
    assert ok
    classifier, decoded = make_classifier(), cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    assert outcome(classifier, bytes(data)) == outcome(classifier, decoded)


@pytest.fixture(scope="module")
def mixed_files(encode: Encode, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Phantoms of several sizes, and two files that are no scans."""
    folder = tmp_path_factory.mktemp("mixed")
    contents = [encode(".png", draw_phantom(PhantomSpec(seed, side=64 + seed))) for seed in range(6)]
    paths = [folder / f"{number}.png" for number in range(len(contents) + 2)]
    for path, data in zip(paths, [*contents, b"no picture", b""], strict=True):
        path.write_bytes(data)
    return [str(path) for path in paths]


@given(order=st.lists(st.integers(0, 7), min_size=1, max_size=20), size=st.integers(1, 9), readers=st.integers(1, 3))
def test_any_order_in_batches_of_any_size_gives_the_answers_of_single_scans(
    make_classifier: MakeClassifier, mixed_files: list[str], order: list[int], size: int, readers: int
) -> None:
    classifier = make_classifier()
    alone = [outcome(classifier, path) for path in mixed_files]
    found = list(classifier.classify_many([mixed_files[k] for k in order], batch_size=size, readers=readers))
    assert [p.path for p in found] == [mixed_files[k] for k in order]
    for prediction, k in zip(found, order, strict=True):
        if prediction.error is None:
            assert answer(prediction) == alone[k]
        else:
            assert prediction.error.code == alone[k][1]


@given(
    hnp.arrays(np.uint16, (40, 36), elements=st.integers(0, 4095), fill=st.nothing()),
    st.integers(0, 4),
    st.floats(min_value=0.01, max_value=100),
    st.floats(min_value=-1e4, max_value=1e4),
)
@settings(suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow])
def test_bit_depth_slope_and_intercept_change_no_answer(
    make_classifier: MakeClassifier, pixels: Pixels, shift: int, slope: float, intercept: float
) -> None:
    pixels[3:7] = np.arange(144).reshape(4, 36) * 20  # never constant
    classifier = make_classifier()
    expected = answer(classifier.classify(pixels))
    assert answer(classifier.classify(pixels << shift)) == expected
    assert answer(classifier.classify(pixels * slope + intercept)) == expected
