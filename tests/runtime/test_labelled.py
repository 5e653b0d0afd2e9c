from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebrain.errors import UsageError
from edgebrain.labelled import CLASS_ALIASES, NOT_BRAIN_MRI, Sample, canonical_label, read_labelled, write_samples


def touch(root: Path, *names: str) -> None:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"scan")


def manifest(folder: Path, text: str, *, encoding: str = "utf-8") -> Path:
    touch(folder, "a.png", "b.png")
    path = folder / "set.csv"
    path.write_text(text, encoding=encoding)
    return path


def message(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_labelled(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("glioma", "glioma"),
        ("Glioma_Tumor", "glioma"),
        ("gl", "glioma"),
        ("MENINGIOMA", "meningioma"),
        ("meningioma_tumour", "meningioma"),
        ("pituitary tumor", "pituitary"),
        ("no_tumor", "no_tumor"),
        ("notumor", "no_tumor"),
        ("no tumor", "no_tumor"),
        ("No-Tumour", "no_tumor"),
        ("no", "no_tumor"),
        ("healthy", "no_tumor"),
        ("yes", "tumor"),
        ("Tumour", "tumor"),
        ("not brain MRI", "not_brain_mri"),
        ("Outliers", "not_brain_mri"),
        ("other pictures", "not_brain_mri"),
        ("metastasis", None),
    ],
)
def test_class_names_of_published_sets(name: str, label: str | None) -> None:
    assert canonical_label(name) == label


def test_a_models_own_labels_are_accepted_and_win() -> None:
    assert canonical_label("Schwannoma", labels=["schwannoma"]) == "schwannoma"
    assert canonical_label("gl", labels=["GL"]) == "GL"
    assert set(CLASS_ALIASES.values()) == {
        "glioma",
        "meningioma",
        "no_tumor",
        "pituitary",
        "tumor",
        NOT_BRAIN_MRI,
    }


def test_folder_of_classes(tmp_path: Path) -> None:
    touch(tmp_path, "set/no/b.JPG", "set/no/a.png", "set/glioma_tumor/deep/c.tif", "set/no/Thumbs.db", "set/no/._a.png")
    root = tmp_path / "set"
    assert read_labelled(root) == [
        Sample(str(root / "glioma_tumor" / "deep" / "c.tif"), "glioma", "set"),
        Sample(str(root / "no" / "a.png"), "no_tumor", "set"),
        Sample(str(root / "no" / "b.JPG"), "no_tumor", "set"),
    ]


def test_several_data_sets_with_official_splits(tmp_path: Path) -> None:
    touch(tmp_path, "one/Training/glioma/a.png", "one/Testing/glioma/b.png", "two/yes/c.png", "two/no/d.png")
    found = [(Path(s.path).name, s.label, s.source, s.split) for s in read_labelled(tmp_path)]
    assert found == [
        ("b.png", "glioma", "one", "test"),
        ("a.png", "glioma", "one", "train"),
        ("d.png", "no_tumor", "two", ""),
        ("c.png", "tumor", "two", ""),
    ]
    assert [s.path for s in read_labelled(tmp_path, split="Testing")] == [found_path(tmp_path, "b.png")]


def found_path(root: Path, name: str) -> str:
    return str(next(root.rglob(name)))


def test_a_split_folder_itself_is_named_after_its_data_set(tmp_path: Path) -> None:
    touch(tmp_path, "one/Training/glioma/a.png")
    (only,) = read_labelled(tmp_path / "one" / "Training")
    assert (only.source, only.split) == ("one", "train")


def test_a_data_set_may_be_called_like_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "tumor/glioma/a.png", "tumor/no/b.png")
    assert [(s.label, s.source) for s in read_labelled(tmp_path)] == [("glioma", "tumor"), ("no_tumor", "tumor")]


def test_unlabelled_parts_of_br35h_are_left_alone(tmp_path: Path) -> None:
    touch(tmp_path, "yes/a.png", "no/b.png", "pred/c.png", "Br35H-Mask-RCNN/TRAIN/d.png")
    assert [s.label for s in read_labelled(tmp_path)] == ["no_tumor", "tumor"]


def test_unknown_class_beside_known_ones_gets_a_suggestion(tmp_path: Path) -> None:
    touch(tmp_path, "glioma/a.png", "meningoma/b.png")
    assert "Unknown class 'meningoma'" in message(tmp_path)
    assert "Did you mean meningioma?" in message(tmp_path)


def test_unknown_class_without_a_likeness_lists_what_is_known(tmp_path: Path) -> None:
    touch(tmp_path, "glioma/a.png", "zebra/b.png")
    assert "Known classes: glioma, meningioma, pituitary, no_tumor, tumor" in message(tmp_path)
    assert [s.label for s in read_labelled(tmp_path, labels=["Zebra"])] == ["glioma", "Zebra"]


def test_only_misspelt_classes(tmp_path: Path) -> None:
    touch(tmp_path, "gliomma/a.png")
    assert "Did you mean glioma?" in message(tmp_path)


def test_folders_of_something_else(tmp_path: Path) -> None:
    touch(tmp_path, "invoices/a.png")
    assert "has no class folders" in message(tmp_path)


def test_an_unknown_folder_without_scans_is_no_class(tmp_path: Path) -> None:
    touch(tmp_path, "glioma/a.png", "docs/readme.txt")
    assert len(read_labelled(tmp_path)) == 1


def test_the_class_folder_itself_is_refused_with_the_way_out(tmp_path: Path) -> None:
    touch(tmp_path, "glioma/a.png")
    assert f"Give the folder that holds it: {str(tmp_path)!r}" in message(tmp_path / "glioma")


def test_an_empty_class_folder_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "glioma/a.png", "no/readme.txt")
    assert f"The class folder {str(tmp_path / 'no')!r} has no scans." in message(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    assert "There is no file or folder" in message(tmp_path / "absent")


def test_what_is_neither_file_nor_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is neither a file nor a folder" in message(tmp_path / "pipe")


def test_a_link_in_a_circle_hides_nothing_else(tmp_path: Path) -> None:
    touch(tmp_path, "glioma/a.png")
    (tmp_path / "glioma" / "circle").symlink_to("circle")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert len(read_labelled(tmp_path)) == 1


@pytest.mark.parametrize(("link", "to"), [("set", "."), ("glioma/all", ".."), ("glioma/again", "../glioma")])
def test_a_link_back_does_not_show_scans_twice(tmp_path: Path, link: str, to: str) -> None:
    touch(tmp_path, "glioma/a.png", "no/b.png")
    before = read_labelled(tmp_path)
    (tmp_path / link).symlink_to(to)
    assert read_labelled(tmp_path) == before


def test_a_link_to_a_folder_elsewhere_is_followed(tmp_path: Path) -> None:
    touch(tmp_path, "store/no/b.png", "set/glioma/a.png")
    (tmp_path / "set" / "no").symlink_to(tmp_path / "store" / "no")
    assert sorted(s.label for s in read_labelled(tmp_path / "set")) == ["glioma", "no_tumor"]


def test_a_name_that_no_file_can_have_is_a_wrong_line(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text(f"path,label\n{'a' * 300}.png,no\n", encoding="utf-8")
    assert "long.csv', line 2: 'aaa" in message(path)


def test_manifest_columns_in_any_order_and_case_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = manifest(tmp_path, "Split, LABEL,path,patient\nTraining,yes,a.png,p1\n,No,b.png,\n", encoding="utf-8-sig")
    assert read_labelled(path) == [
        Sample(str(tmp_path / "a.png"), "tumor", group="p1", split="train"),
        Sample(str(tmp_path / "b.png"), "no_tumor"),
    ]


def test_group_wins_over_patient(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,label,group,patient\na.png,no,g,p\nb.png,no,,p\n")
    assert [s.group for s in read_labelled(path)] == ["g", "p"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no column path and no column label"),
        ("path,class\na.png,no\n", "no column label"),
        ("path,label\na.png,no\nb.png\n", "line 3: it does not have 2 cells"),
        ("path,label\na.png,no,more\n", "line 2: it does not have 2 cells"),
        ("path,label\n,no\n", "line 2: its path is empty"),
        ("path,label\nc.png,no\n", "line 2: there is no file"),
        ("path,label\na.png,no\nb.png,gliome\n", "line 3'. Did you mean glioma?"),
        ("path,label,split\na.png,no,later\n", "line 2: 'later' is no split (train, val, test, external)"),
        ("path,label,conflict\na.png,no,maybe\n", "line 2: conflict is 'maybe', not true or false"),
        ('path,label\n"a.png,no\n', "is no CSV file"),
        ("path,label\n", "lists no scans"),
    ],
)
def test_wrong_manifests_name_the_line(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in message(manifest(tmp_path, text))


def test_an_absent_split_names_those_there_are(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,label,split\na.png,no,train\nb.png,no,val\n")
    with pytest.raises(UsageError, match="no split 'test'; its splits: train, val"):
        read_labelled(path, split="test")


def test_written_paths_move_with_the_manifest(tmp_path: Path) -> None:
    touch(tmp_path, "here/no/a.png", "here/=cmd.png", "away/b.png")
    home = tmp_path / "here"
    samples = [
        Sample(str(home / "no" / "a.png"), "no_tumor", "=s", "g", "train", str(home / "=cmd.png"), conflict=True),
        Sample(str(home / "=cmd.png"), "tumor"),
        Sample(str(tmp_path / "away" / "b.png"), "glioma", split="external"),
    ]
    write_samples(home / "set.csv", samples)
    assert (home / "set.csv").read_text(encoding="utf-8").splitlines() == [
        "path,label,source,group,split,copy_of,conflict",
        "no/a.png,no_tumor,'=s,g,train,./=cmd.png,true",
        "./=cmd.png,tumor,,,,,false",
        f"{tmp_path / 'away' / 'b.png'},glioma,,,external,,false",
    ]
    assert read_labelled(home / "set.csv") == samples
    moved = home.rename(tmp_path / "there")
    assert read_labelled(moved / "set.csv")[0].copy_of == str(moved / "=cmd.png")


def test_base_widens_what_is_written_relative(tmp_path: Path) -> None:
    touch(tmp_path, "data/a.png", "splits/old.txt")
    path = tmp_path / "splits" / "set.csv"
    write_samples(path, [Sample(str(tmp_path / "data" / "a.png"), "glioma")], base=tmp_path)
    assert path.read_text(encoding="utf-8").splitlines()[1].startswith("../data/a.png,")
    assert Path(read_labelled(path)[0].path).samefile(tmp_path / "data" / "a.png")


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=8).map(str.strip)


@given(source=WORDS, group=WORDS, conflict=st.booleans(), split=st.sampled_from(["", "train", "val", "test"]))
def test_whatever_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, *, source: str, group: str, conflict: bool, split: str
) -> None:
    folder = tmp_path_factory.mktemp("set")
    touch(folder, 'ü "x", y.png')
    sample = Sample(str(folder / 'ü "x", y.png'), "pituitary", split=split, conflict=conflict)
    sample = replace(sample, source=source, group=group)
    write_samples(folder / "set.csv", [sample])
    assert read_labelled(folder / "set.csv") == [sample]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    touch(tmp_path, "set.csv")
    with pytest.raises(AttributeError):
        write_samples(tmp_path / "set.csv", [Sample(str(tmp_path / "a.png"), "no_tumor"), None])  # type: ignore[list-item]
    assert [p.name for p in tmp_path.iterdir()] == ["set.csv"]
    assert (tmp_path / "set.csv").read_bytes() == b"scan"


def test_a_manifest_behind_a_link_is_replaced_there(tmp_path: Path) -> None:
    touch(tmp_path, "set.csv", "a.png")
    (tmp_path / "link.csv").symlink_to(tmp_path / "set.csv")
    write_samples(tmp_path / "link.csv", [Sample(str(tmp_path / "a.png"), "no_tumor")])
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "set.csv").read_bytes().endswith(b"a.png,no_tumor,,,,,false\n")


def test_a_manifest_goes_into_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_samples(pipe, [])
    reader.join(timeout=30)
    assert read == [b"path,label,source,group,split,copy_of,conflict\n"]
    assert pipe.is_fifo()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Cannot write"):
        write_samples(tmp_path / "absent" / "set.csv", [])


def test_pictures_that_are_no_scans_have_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "mine/glioma/a.png", "mine/other_pictures/cats/b.png", "mine/outlier/c.png")
    found = [(Path(s.path).name, s.label, s.source) for s in read_labelled(tmp_path)]
    assert found == [("a.png", "glioma", "mine"), ("b.png", NOT_BRAIN_MRI, "mine"), ("c.png", NOT_BRAIN_MRI, "mine")]
    samples = [Sample(str(tmp_path / "mine" / "outlier" / "c.png"), NOT_BRAIN_MRI, "cats")]
    write_samples(tmp_path / "set.csv", samples)
    assert read_labelled(tmp_path / "set.csv") == samples
