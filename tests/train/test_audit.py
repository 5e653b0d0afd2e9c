from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgebrain.errors import EXIT_OK, EXIT_SOME_FAILED, UsageError
from edgebrain.labelled import Sample, read_labelled, write_samples
from edgebrain.train.audit import audit, run_audit
from edgebrain.train.audit_facts import contradict, guess_accuracy
from edgebrain.train.audit_report import AuditReport, to_json
from edgebrain.types import Image8

DATA = Path(os.environ.get("EDGEBRAIN_DATA", "../shared/data"))


def texture(seed: int, side: int = 96) -> Image8:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8)).astype(np.float32)
    image = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def neighbour(seed: int) -> Image8:
    """Like ``texture(seed)`` as the next slice of a volume is: over 0.95, below 0.99."""
    mixed = 0.8 * texture(seed).astype(np.float64) + 0.2 * texture(seed + 1000)
    return np.asarray(mixed.round(), np.uint8)


def save(path: Path, image: Image8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def names(paths: Sequence[str]) -> list[str]:
    return [Path(path).name for path in paths]


def by_name(report: AuditReport) -> dict[str, Sample]:
    return {Path(sample.path).name: sample for sample in report.samples}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two sources: ``b`` repeats an image of ``a`` larger and mirrored, ``a`` repeats itself in bytes."""
    root = tmp_path / "data"
    for k in range(6):
        save(root / "a" / "glioma" / f"g{k}.png", texture(k))
        save(root / "a" / "no" / f"n{k}.png", texture(k + 10))
    save(root / "a" / "glioma" / "near0.png", neighbour(0))
    save(root / "b" / "glioma" / "mirrored1.jpg", np.ascontiguousarray(texture(1, side=200)[:, ::-1]))
    shutil.copy(root / "a" / "no" / "n0.png", root / "a" / "no" / "same0.png")
    return root


def test_copies_groups_and_sources(data: Path) -> None:
    report = audit(read_labelled(data))
    assert (report.images, report.unique, report.copy_sets, report.groups) == (15, 13, 13, 12)
    assert report.largest_copy_sets[:3] == (2, 2, 1)
    assert report.turned == {"as it is": 1, "mirrored": 1, "upside down": 0, "turned by 180 degrees": 0}
    assert [names(one.members) for one in report.identical] == [["n0.png", "same0.png"]]
    marked = by_name(report)
    assert marked["g1.png"].copy_of == marked["mirrored1.jpg"].path, "the larger copy is kept"
    assert marked["mirrored1.jpg"].copy_of == ""
    assert {marked["n0.png"].copy_of, marked["same0.png"].copy_of} == {"", marked["n0.png"].path}
    assert marked["g0.png"].group == marked["near0.png"].group
    assert marked["near0.png"].copy_of == ""
    assert marked["g0.png"].group != marked["g2.png"].group
    assert [(o.source, o.other, o.images, o.copied) for o in report.overlaps] == [("a", "b", 14, 1), ("b", "a", 1, 1)]
    row = next(r for r in report.classes if (r.source, r.label) == ("b", "glioma"))
    assert (row.images, row.unique, row.formats, row.common_size) == (1, 1, {"jpeg": 1}, "200x200")
    assert report.clean


def test_groups_depend_on_content_only(data: Path, tmp_path: Path) -> None:
    samples = read_labelled(data)
    expected = {name: (s.group, names([s.copy_of])) for name, s in by_name(audit(samples)).items()}
    moved = data.rename(tmp_path / "elsewhere")
    again = audit(list(reversed(read_labelled(moved))))
    found = {name: (s.group, names([s.copy_of])) for name, s in by_name(again).items()}
    for name in ("n0.png", "same0.png"):  # the same bytes: which one is the copy is a matter of order
        assert found.pop(name)[0] == expected.pop(name)[0]
    assert found == expected


def test_thresholds_decide(data: Path) -> None:
    strict = audit(read_labelled(data), copy_threshold=0.9999, group_threshold=0.9999)
    assert strict.groups == strict.copy_sets
    assert by_name(strict)["g0.png"].group != by_name(strict)["near0.png"].group
    loose = audit(read_labelled(data), copy_threshold=0.95, group_threshold=0.95)
    assert loose.unique == 12


@pytest.mark.parametrize(("copy", "group"), [(0.9, 0.95), (1.0, 0.9), (0.9, 0.0)])
def test_thresholds_that_make_no_sense(data: Path, copy: float, group: float) -> None:
    with pytest.raises(UsageError, match="make no sense"):
        audit(read_labelled(data), copy_threshold=copy, group_threshold=group)


def test_a_patient_stays_together(data: Path) -> None:
    samples = [replace(s, group="p7" if Path(s.path).name in {"g2.png", "n3.png"} else "") for s in read_labelled(data)]
    marked = by_name(audit(samples))
    assert marked["g2.png"].group == marked["n3.png"].group
    assert marked["g2.png"].group != marked["g3.png"].group


def test_copies_with_two_labels_are_conflicts(data: Path) -> None:
    save(data / "a" / "no" / "wrong2.png", np.ascontiguousarray(texture(2)[::-1]))
    save(data / "b" / "no" / "near3.png", neighbour(3))
    report = audit(read_labelled(data))
    assert [names(c.members) for c in report.conflicts] == [["g2.png", "wrong2.png"]]
    assert report.conflicts[0].labels == ("glioma", "no_tumor")
    assert [names(c.members) for c in report.group_conflicts] == [["g3.png", "near3.png"]]
    assert {name for name, s in by_name(report).items() if s.conflict} == {"g2.png", "wrong2.png"}
    assert not report.clean


def test_leakage_between_official_splits(tmp_path: Path) -> None:
    for k in range(3):
        save(tmp_path / "Training" / "glioma" / f"train{k}.png", texture(k))
        save(tmp_path / "Testing" / "glioma" / f"test{k}.png", texture(k + 20))
    save(tmp_path / "Testing" / "glioma" / "leak.png", np.ascontiguousarray(texture(0)[:, ::-1]))
    save(tmp_path / "Testing" / "glioma" / "near.png", neighbour(1))
    report = audit(read_labelled(tmp_path))
    assert [(names(f.members), f.splits) for f in report.leakage] == [(["leak.png", "train0.png"], ("test", "train"))]
    assert [names(f.members) for f in report.group_leakage] == [["near.png", "train1.png"]]
    assert not report.clean


def test_tumours_of_unknown_kind_are_audited_but_not_mixed_in(data: Path, tmp_path: Path) -> None:
    save(data / "c" / "yes" / "t0.png", texture(40))
    save(data / "c" / "yes" / "t4.png", texture(4))
    path = tmp_path / "splits.csv"
    assert run_audit([data], strict=True, splits_path=path) == EXIT_OK, "some tumour does not contradict a glioma"
    splits = {Path(s.path).name: s for s in read_labelled(path)}
    assert splits["t0.png"].split == "external"
    assert splits["t4.png"].split == "", "it repeats an image that is in a split"
    assert splits["t4.png"].group == splits["g4.png"].group


def test_a_binary_contradiction() -> None:
    assert contradict(["tumor", "no_tumor"])
    assert contradict(["glioma", "tumor", "no_tumor"])
    assert not contradict(["glioma", "tumor"])
    assert not contradict(["no_tumor", "no_tumor"])


def test_unreadable_files_are_listed_and_left_out(data: Path, tmp_path: Path) -> None:
    whole = (data / "a" / "no" / "n1.png").read_bytes()
    (data / "a" / "no" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (data / "a" / "no" / "text.png").write_text("no picture")
    save(data / "a" / "no" / "flat.png", np.full((64, 64), 9, np.uint8))
    save(data / "a" / "no" / "tiny.png", texture(50, side=16))
    report = audit(read_labelled(data))
    assert names([u.path for u in report.unreadable]) == ["cut.png", "flat.png", "text.png", "tiny.png"]
    assert all(u.path in u.message for u in report.unreadable)
    assert report.images == 15
    path = tmp_path / "splits.csv"
    assert run_audit([data], splits_path=path) == EXIT_OK
    assert run_audit([data], strict=True) == EXIT_SOME_FAILED
    assert len(read_labelled(path)) == 15


def test_nothing_readable(tmp_path: Path) -> None:
    (tmp_path / "no").mkdir()
    (tmp_path / "no" / "a.png").write_text("no picture")
    with pytest.raises(UsageError, match="None of 1 files can be read"):
        audit(read_labelled(tmp_path))
    with pytest.raises(UsageError, match="Nothing to audit"):
        run_audit([])


def test_of_several_frames_the_middle_one_is_compared(tmp_path: Path) -> None:
    (tmp_path / "no").mkdir()
    frames = [texture(1), texture(2), texture(3)]
    assert cv2.imwritemulti(str(tmp_path / "no" / "volume.tif"), frames)
    save(tmp_path / "no" / "middle.png", texture(2))
    save(tmp_path / "no" / "first.png", texture(1))
    report = audit(read_labelled(tmp_path))
    assert [report.copy_sets, report.largest_copy_sets] == [2, (2, 1)]
    assert by_name(report)["volume.tif"].group == by_name(report)["middle.png"].group


def test_written_files_and_what_is_printed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    save(data / "a" / "no" / "wrong[bold]2.png", texture(2))
    first, again = tmp_path / "1.json", tmp_path / "2.json"
    for path in (first, again):
        code = run_audit([data / "a", data], json_path=path, splits_path=tmp_path / "s.csv", strict=True, seed=3)
        assert code == EXIT_SOME_FAILED
    assert first.read_bytes() == again.read_bytes()
    report = json.loads(first.read_text(encoding="utf-8"))
    assert report["schema"] == 1
    assert report["images"] == 16, "a file that two folders name counts once"
    assert names(report["conflicts"][0]["members"]) == ["g2.png", "wrong[bold]2.png"]
    assert sum(row["images"] for row in report["splits"]) == 16
    assert "samples" not in report
    out, err = capsys.readouterr()
    assert "copies with more than one label (glioma / no_tumor)" in out
    assert "wrong[bold]2.png" in out
    assert err == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.json", "2.json", "data", "s.csv"]


def test_a_file_named_in_two_ways_counts_once(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(data.parent)
    run_audit([data, Path("data")], splits_path=tmp_path / "s.csv")
    assert len(read_labelled(tmp_path / "s.csv")) == 15


def test_the_new_split_has_no_leakage(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    run_audit([data], splits_path=path, fractions=(0.5, 0.25, 0.25))
    report = audit(read_labelled(path))
    assert report.leakage == ()
    assert report.group_leakage == ()
    assert {s.split for s in report.samples} == {"train", "val", "test"}


def test_a_report_behind_a_link_is_replaced_there(data: Path, tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text("old")
    link.symlink_to(real)
    run_audit([data], json_path=link)
    assert link.is_symlink()
    assert json.loads(real.read_text(encoding="utf-8"))["images"] == 15


def test_a_report_that_cannot_be_written(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Cannot write"):
        run_audit([data], json_path=tmp_path / "absent" / "report.json")


def test_progress_is_told_to_the_end(data: Path) -> None:
    calls: dict[str, tuple[int, int]] = {}
    audit(read_labelled(data), progress=lambda what, done, total: calls.update({what: (done, total)}))
    assert calls == {"Reading": (15, 15), "Comparing": (1, 1)}


def test_guessing_from_a_property() -> None:
    labels = ["a"] * 6 + ["b"] * 4
    assert guess_accuracy(labels, [0] * 10) == 0.6
    assert guess_accuracy(labels, labels) == 1.0
    assert guess_accuracy(["a", "b"], [0, 0]) == 0.0, "nobody else votes"
    assert guess_accuracy(["a", "a", "b"], [0, 1, 2]) == 0.5, "the first by the second, which ties with the last"
    assert guess_accuracy([], []) == 0.0


@pytest.mark.parametrize("each", [10, 37, 50])
def test_a_property_that_says_nothing_is_worth_a_guess_among_balanced_labels(each: int) -> None:
    labels = [label for label in "abcd" for _ in range(each)]
    assert guess_accuracy(labels, [0] * len(labels)) == 0.25
    assert guess_accuracy(labels, range(len(labels))) == 0.25, "no value comes twice"


def test_what_is_read_is_not_written_over(data: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "ours.csv"
    write_samples(manifest, read_labelled(data))
    before = manifest.read_bytes()
    for outputs in (manifest, None), (None, manifest):
        with pytest.raises(UsageError, match=r"ours\.csv is read or written already"):
            run_audit([manifest], splits_path=outputs[0], json_path=outputs[1])
    assert manifest.read_bytes() == before


def test_two_outputs_have_two_files(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="read or written already"):
        run_audit([data], json_path=tmp_path / "one", splits_path=tmp_path / "one")


def test_a_shortcut_shows(tmp_path: Path) -> None:
    for k in range(8):
        save(tmp_path / "glioma" / f"{k}.png", texture(k))
        save(tmp_path / "no" / f"{k}.png", texture(k + 30, side=128))
    found = {s.name: s for s in audit(read_labelled(tmp_path)).shortcuts}
    assert found["size"].accuracy == 1.0
    assert found["shape"].accuracy == found["shape"].baseline < 0.6


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "sartaj").is_dir(), reason="EDGEBRAIN_DATA names no folder with the published sets")
def test_published_sets_repeat_each_other() -> None:
    samples = [s for name in ("brain-tumor-mri", "sartaj") for s in read_labelled(DATA / name)]
    report = audit([s for s in samples if s.label == "no_tumor"])
    copied = {o.source: (o.copied, o.images) for o in report.overlaps}
    assert copied["sartaj"] == (395, 395)
    assert report.unique < 0.25 * report.images
    assert json.loads(to_json(report))["unreadable"] == []
