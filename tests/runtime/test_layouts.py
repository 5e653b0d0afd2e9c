from __future__ import annotations

from pathlib import Path

import pytest

from edgebrain.errors import UsageError
from edgebrain.labelled import read_labelled


def touch(root: Path, *names: str) -> None:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"scan")


def found(root: Path) -> set[tuple[str, str, str]]:
    return {(s.label, s.split, s.source) for s in read_labelled(root)}


SPLITS = {"Training": "train", "Testing": "test"}
LABELS = ("glioma", "meningioma", "no_tumor", "pituitary")


@pytest.mark.parametrize(
    "classes",
    [
        ("glioma", "meningioma", "notumor", "pituitary"),
        ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor"),
    ],
    ids=["masoudnickparvar", "SARTAJ"],
)
def test_sets_of_four_classes_with_two_splits(tmp_path: Path, classes: tuple[str, ...]) -> None:
    touch(tmp_path, *(f"set/{split}/{name}/1.jpg" for split in SPLITS for name in classes))
    assert found(tmp_path / "set") == {(label, split, "set") for split in SPLITS.values() for label in LABELS}


def test_br35h(tmp_path: Path) -> None:
    touch(tmp_path, "Br35H/yes/y1.jpg", "Br35H/no/no1.jpg", "Br35H/pred/pred0.jpg")
    assert found(tmp_path / "Br35H") == {("tumor", "", "Br35H"), ("no_tumor", "", "Br35H")}


def test_kinds_of_tumour_below_a_folder_of_tumours_are_one_set_with_the_scans_without(tmp_path: Path) -> None:
    # As in mohammadhosseini77's set.
    kinds = ("glioma_tumor", "meningioma_tumor", "pituitary_tumor")
    touch(tmp_path, "set/Data/Normal/n.jpg", *(f"set/Data/Tumor/{kind}/1.jpg" for kind in kinds))
    assert found(tmp_path / "set") == {(label, "", "Data") for label in LABELS}


@pytest.mark.parametrize("split", ["Training", "val", "test"])
def test_class_folders_beside_split_folders_are_refused(tmp_path: Path, split: str) -> None:
    touch(tmp_path, "set/glioma/a.jpg", f"set/{split}/glioma/b.jpg", f"set/{split}/notumor/c.jpg")
    with pytest.raises(UsageError, match=f"mixes two layouts: the class folder 'glioma' .* split folder '{split}'"):
        read_labelled(tmp_path / "set")


def patients(folder: Path, *rows: str) -> Path:
    touch(folder, *(f"{i}.png" for i in range(len(rows))))
    path = folder / "set.csv"
    lines = [f"{i}.png,no,{row}" for i, row in enumerate(rows)]
    path.write_text("\n".join(["path,label,patient,split", *lines]), encoding="utf-8")
    return path


def test_a_patient_in_two_splits_is_refused_by_line_and_not_by_name(tmp_path: Path) -> None:
    path = patients(tmp_path, "Jane Doe,train", "p2,test", "Jane Doe,train", " Jane Doe ,Testing")
    with pytest.raises(UsageError, match=r"lines 2 and 5: one patient is in the splits train and test") as caught:
        read_labelled(path, patients_apart=True)
    assert "Jane" not in str(caught.value)
    # The audit reads such a manifest to say what leaks.
    assert [s.split for s in read_labelled(path)] == ["train", "test", "train", "test"]


def test_patients_that_are_apart_or_unknown_or_not_yet_split_are_fine(tmp_path: Path) -> None:
    path = patients(tmp_path, "p1,train", "p1,", "p2,test", ",train", ",test", "p1,train")
    assert [s.group for s in read_labelled(path, patients_apart=True)] == ["p1", "p1", "p2", "", "", "p1"]
