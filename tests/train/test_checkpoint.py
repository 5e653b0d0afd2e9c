from __future__ import annotations

import math
import stat
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from edgebrain.errors import TrainingError
from edgebrain.train import checkpoint

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    values = torch.randint(0, 200, shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    return values.to(draw(st.sampled_from(DTYPES)))


keys = st.one_of(st.text(max_size=8), st.integers(), st.tuples(st.integers(), st.text(max_size=3)))
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.just("$tensor"), tensors()
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple), st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and math.isnan(left):
        return math.isnan(right)
    return bool(left == right)


@settings(deadline=None, max_examples=80)
@given(tree=trees)
def test_any_tree_comes_back_from_its_file(tree: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "deep", "c.ckpt")
        checkpoint.save(path, tree)
        assert same(checkpoint.load(path), tree)
        assert [p.name for p in path.parent.iterdir()] == ["c.ckpt"]


def test_numpy_numbers_and_paths_become_plain() -> None:
    encoded = checkpoint.encode({"a": np.float32(0.5), "b": Path("x/y"), "c": np.int64(3)}, {})
    assert checkpoint.decode(encoded, {}) == {"a": 0.5, "b": "x/y", "c": 3}


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes", print, 1j])
def test_what_would_need_pickle_is_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=f"cannot hold a {type(value).__name__}"):
        checkpoint.save(tmp_path / "c.ckpt", {"deep": [value]})
    assert list(tmp_path.iterdir()) == []


def test_tensors_that_share_memory_and_views_are_kept(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    tree = {"a": whole, "b": whole, "c": whole.T, "d": whole[:, ::2], "e": torch.zeros(2, requires_grad=True)}
    checkpoint.save(tmp_path / "c.ckpt", tree)
    back = checkpoint.load(tmp_path / "c.ckpt")
    assert same(back, {**tree, "e": torch.zeros(2)})


def test_the_file_is_a_header_of_json_and_raw_numbers(tmp_path: Path) -> None:
    path = tmp_path / "c.ckpt"
    tensor = torch.arange(4, dtype=torch.int32)
    checkpoint.save(path, {"weights": tensor, "name": "x"})
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert data[8 : 8 + length].isascii()
    assert data[8:9] == b"{"
    # After the text there is nothing but the tensor: no place for a pickle.
    assert data[8 + length :] == tensor.numpy().tobytes()


def test_a_checkpoint_is_readable_for_whom_the_umask_says(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c.ckpt", {})
    (tmp_path / "plain").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("c.ckpt", "plain")]
    assert modes[0] == modes[1]


def test_a_failed_write_leaves_the_previous_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.ckpt"
    checkpoint.save(path, {"epoch": 1, "w": torch.ones(3)})
    before = path.read_bytes()

    def full(tensors: object, file: str, metadata: object) -> None:
        del tensors, metadata
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(TrainingError, match=r"c\.ckpt cannot be written.*No space left.*previous checkpoint"):
        checkpoint.save(path, {"epoch": 2})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c.ckpt"]


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="cannot be written"):
        checkpoint.save(tmp_path / "file" / "c.ckpt", {})


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(TrainingError, match="not a checkpoint of edgebrain"):
        checkpoint.load(tmp_path / "foreign.safetensors")


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    torch.save({"bomb": Bomb(tmp_path / "mark")}, tmp_path / "evil.ckpt")
    with pytest.raises(TrainingError, match=r"evil\.ckpt cannot be read"):
        checkpoint.load(tmp_path / "evil.ckpt")
    with pytest.raises(TrainingError, match="cannot be read"):
        checkpoint.SafetensorsIO().load_checkpoint(tmp_path / "evil.ckpt", weights_only=False)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("tree", ["{", '{"$tensor": "t9"}', '{"$dict": 3}', "{}", '{"$dict": [[{"$dict": []}, 1]]}'])
def test_a_damaged_header_is_refused(tmp_path: Path, tree: str) -> None:
    save_file({}, tmp_path / "c.ckpt", {"format": checkpoint.FORMAT, "tree": tree})
    with pytest.raises(TrainingError, match="is damaged"):
        checkpoint.load(tmp_path / "c.ckpt")


def test_a_header_without_a_tree_is_refused(tmp_path: Path) -> None:
    save_file({}, tmp_path / "c.ckpt", {"format": checkpoint.FORMAT})
    with pytest.raises(TrainingError, match="is damaged"):
        checkpoint.load(tmp_path / "c.ckpt")


def test_a_file_cut_short_or_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.ckpt"
    with pytest.raises(TrainingError, match="cannot be read"):
        checkpoint.load(path)
    checkpoint.save(path, {"w": torch.ones(100)})
    whole = path.read_bytes()
    for length in (0, 4, 40, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(TrainingError, match="cannot be read"):
            checkpoint.load(path)


def test_the_trainer_can_remove_a_checkpoint_twice(tmp_path: Path) -> None:
    io = checkpoint.SafetensorsIO()
    io.save_checkpoint({"epoch": 1}, tmp_path / "c.ckpt")
    assert io.load_checkpoint(tmp_path / "c.ckpt") == {"epoch": 1}
    io.remove_checkpoint(tmp_path / "c.ckpt")
    io.remove_checkpoint(tmp_path / "c.ckpt")
    assert list(tmp_path.iterdir()) == []
