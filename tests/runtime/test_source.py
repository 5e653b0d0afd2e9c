from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgebrain.errors import ScanTooLarge, UnreadableScan
from edgebrain.readers import Limits, load
from edgebrain.readers.source import OPEN_FLAGS

if TYPE_CHECKING:
    from collections.abc import Callable


def test_loads_all_bytes_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 1000)
    assert load(path) == path.read_bytes()
    assert load(str(path)) == path.read_bytes()


def test_names_that_are_not_utf8_work_and_are_printable_in_errors(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/sc\xe4n\xff.png")
    try:
        Path(name).write_bytes(b"data")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert load(name) == b"data"
    with pytest.raises(UnreadableScan) as caught:
        load(name + "\x1b[31m")
    assert caught.value.message.isprintable()
    assert "udce4" in caught.value.message


def test_follows_a_link_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"data")
    (tmp_path / "link").symlink_to("real")
    assert load(tmp_path / "link") == b"data"


def _missing(path: Path) -> None:
    assert not path.exists()


def _behind_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_bytes(b"a file")


def _empty(path: Path) -> None:
    path.touch()


def _broken_link(path: Path) -> None:
    path.symlink_to("gone.png")


def _circle(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_missing, "no such file"),
        (_behind_a_file, "no such file"),
        (Path.mkdir, "a folder"),
        (os.mkfifo, "named pipe"),
        (_empty, "empty"),
        (_broken_link, "link to gone.png"),
        (_circle, "circle"),
    ],
)
def test_what_cannot_be_read_is_named_with_a_way_out(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    path = tmp_path / "sub" / "scan.png"
    path.parent.mkdir()
    make(path)
    with pytest.raises(UnreadableScan) as caught:
        load(path)
    assert str(path) in caught.value.message
    assert words in caught.value.message
    assert caught.value.remedy


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.png")
        with pytest.raises(UnreadableScan, match=r"s\.png: this is a socket"):
            load("s.png")


def test_a_device_is_refused() -> None:
    with pytest.raises(UnreadableScan, match="/dev/null: this is a device"):
        load("/dev/null")


def test_a_null_byte_in_a_name_is_refused() -> None:
    with pytest.raises(UnreadableScan, match="cannot be a file name"):
        load("a\0b.png")


def test_a_name_that_is_too_long_is_refused() -> None:
    with pytest.raises(UnreadableScan, match="cannot be read"):
        load("a" * 5000)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"data")
    path.chmod(0)
    with pytest.raises(UnreadableScan, match="no permission"):
        load(path)


def test_a_permission_error_on_opening_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"data")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UnreadableScan, match=r"a\.png: no permission"):
        load(path)


def test_a_pipe_put_in_the_place_of_a_file_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"data")
    looked = os.stat(path)  # noqa: PTH116 - the very function that is replaced
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(os, "stat", lambda _: looked)
    caught: list[BaseException] = []

    def run() -> None:
        try:
            load(path)
        except UnreadableScan as error:
            caught.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert "named pipe" in str(caught[0])


def test_the_file_is_not_inherited_by_children() -> None:
    assert OPEN_FLAGS & os.O_CLOEXEC
    assert OPEN_FLAGS & os.O_NONBLOCK


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"data")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count is all that is wanted
    for _ in range(20):
        load(path)
        with pytest.raises(ScanTooLarge):
            load(path, Limits(max_file_bytes=3))
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - the same


def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(2**31)  # sparse
    with pytest.raises(ScanTooLarge, match="2,147,483,648 bytes"):
        load(path)
    path.write_bytes(b"12345678")
    assert load(path, Limits(max_file_bytes=8)) == b"12345678"


def test_a_file_that_gets_shorter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"data")
    longer = os.stat_result((stat.S_IFREG, 0, 0, 1, 0, 0, 100, 0, 0, 0))
    monkeypatch.setattr(os, "fstat", lambda _: longer)
    with pytest.raises(UnreadableScan, match="got shorter"):
        load(path)


def test_short_reads_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"0123456789")
    read = os.read
    monkeypatch.setattr(os, "read", lambda fd, n: read(fd, min(n, 3)))
    assert load(path) == b"0123456789"
