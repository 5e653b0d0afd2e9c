"""An export that is killed at any moment leaves a whole bundle under the name, the earlier or the new one."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the package edgebrain.export needs the extra 'export'")

from edgebrain import place

FILES = 5
WRITER = """
import sys
from pathlib import Path
from edgebrain.place import replacing
print("ready", flush=True)
for turn in range(100000):
    with replacing(Path(sys.argv[1])) as folder:
        for k in range(5):
            (folder / str(k)).write_text(str(turn))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX only")
def test_killed_at_any_moment_the_bundle_is_whole(tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    with place.replacing(output) as folder:
        for k in range(FILES):
            (folder / str(k)).write_text("first")
    if not exchanges(tmp_path):
        pytest.skip("this file system cannot let two folders change names")
    rng = random.Random(1)
    for _ in range(6):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(output)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0.01, 0.1))
            child.kill()
        texts = {(output / str(k)).read_text() for k in range(FILES)}
        assert len(texts) == 1
        assert "" not in texts


def exchanges(folder: Path) -> bool:
    for name in ("one", "two"):
        (folder / name).mkdir()
    (folder / "one" / "mark").touch()
    return place._exchange(folder / "one", folder / "two") and (folder / "two" / "mark").is_file()


def test_without_the_exchange_the_earlier_bundle_is_replaced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "_exchange", lambda *_: False)
    for text in ("earlier", "later"):
        with place.replacing(tmp_path / "bundle") as folder:
            (folder / "file").write_text(text)
    assert (tmp_path / "bundle" / "file").read_text() == "later"
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]
