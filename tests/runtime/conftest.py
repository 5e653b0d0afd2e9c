"""What several tests of the runtime share.

Image files are written from bytes alone, so that what is read back was not written by what reads it.
"""

from __future__ import annotations

import csv
import io
import json
import struct
import threading
import weakref
import zlib
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import pytest

from edgebrain import Classifier
from edgebrain.bundle import MANIFEST, describe_file, write_manifest
from edgebrain.cli.app import run
from edgebrain.phantom import SAMPLES, draw_phantom, sample_name
from edgebrain.readers import read
from edgebrain.ready import ReadyScan
from edgebrain.results.writers import open_writer
from edgebrain.seal import SEAL, answer_sha256
from edgebrain.types import EngineRef, ErrorRef, InputRef, Intensity, ModelRef, Prediction, Timing, Triage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edgebrain.manifest import Manifest
    from edgebrain.types import Scan

KINDS = {"u": 1, "i": 2, "f": 3}
LABELS = ("glioma", "no_tumor")
MODEL = ModelRef("edge", "1.0.0", "int8", "a" * 64)
RNG = np.random.default_rng(7)


def write_png(ihdr: tuple[int, ...], rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG of (width, height, depth, colour type), filtered rows and chunks between header and data."""
    header = struct.pack(">IIBBBBB", *ihdr, 0, 0, 0)
    chunks = ((b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(p)) + k + p + struct.pack(">I", zlib.crc32(k + p)) for k, p in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def write_tiff(
    *pages: npt.NDArray[Any],
    order: Literal["<", ">"] = "<",
    big: bool = False,
    tags: Mapping[int, list[int]] | None = None,
    separate: bool = False,
    coding: int = 1,
) -> bytes:
    """A TIFF of one strip a plane; tags are LONGs put in, or in the place of, those that the pages need."""
    offset, number, head = ("Q", "Q", 16) if big else ("I", "H", 8)
    body = bytearray(head)
    mark = b"II" if order == "<" else b"MM"
    body[:8] = mark + (struct.pack(order + "HHH", 43, 8, 0) if big else struct.pack(order + "HI", 42, 0))
    link = 8 if big else 4
    for page in pages:
        pixels = page if page.ndim == 3 else page[..., None]
        samples = pixels.shape[2]
        stored = pixels.astype(pixels.dtype.newbyteorder(order))
        strips = [stored[..., i].tobytes() for i in range(samples)] if separate else [stored.tobytes()]
        strips = [zlib.compress(s) if coding == 8 else s for s in strips]
        starts = []
        for strip in strips:
            starts.append(len(body))
            body += strip + b"\0" * (len(strip) % 2)
        entries = {
            256: [pixels.shape[1]],
            257: [pixels.shape[0]],
            258: [pixels.dtype.itemsize * 8] * samples,
            259: [coding],
            262: [2 if samples > 2 else 1],
            273: starts,
            277: [samples],
            278: [pixels.shape[0]],
            279: [len(s) for s in strips],
            284: [2 if separate else 1],
            339: [KINDS[pixels.dtype.kind]] * samples,
            **(tags or {}),
        }
        places = {}
        for tag, values in entries.items():
            raw = struct.pack(f"{order}{len(values)}I", *values)
            if len(raw) > struct.calcsize(offset):
                places[tag] = struct.pack(order + offset, len(body))
                body += raw
            else:
                places[tag] = raw.ljust(struct.calcsize(offset), b"\0")
        body[link : link + struct.calcsize(offset)] = struct.pack(order + offset, len(body))
        body += struct.pack(order + number, len(entries))
        for tag in sorted(entries):
            body += struct.pack(f"{order}HH{offset}", tag, 4, len(entries[tag])) + places[tag]
        link = len(body)
        body += bytes(struct.calcsize(offset))
    return bytes(body)


def write_bmp(
    size: tuple[int, int],
    bits: int,
    rows: bytes,
    *,
    coding: int = 0,
    header: int = 40,
    masks: tuple[int, ...] = (),
    palette: bytes = b"",
) -> bytes:
    """A BMP of (width, height), with rows as they are stored."""
    info = struct.pack("<IiiHHIIiiII", header, *size, 1, bits, coding, len(rows), 2835, 2835, 0, 0)
    info += struct.pack(f"<{len(masks)}I", *masks)
    info = info.ljust(header, b"\0") + palette
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(rows), 0, 0, 14 + len(info)) + info + rows


def write_jpeg_with_exif(jpeg: bytes, orientation: int, order: str = "<") -> bytes:
    """The JPEG with an Exif block that holds nothing but an orientation."""
    mark = b"II" if order == "<" else b"MM"
    block = mark + struct.pack(order + "HIHHHIHHI", 42, 8, 1, 274, 3, 1, orientation, 0, 0)
    payload = b"Exif\0\0" + block
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + jpeg[2:]


def draw_head(height: int = 48, width: int = 40) -> npt.NDArray[np.uint8]:
    """A bright ellipse with some texture on black; neither axis is symmetric."""
    rows, columns = np.mgrid[:height, :width]
    inside = ((rows - height / 2) / height * 2.3) ** 2 + ((columns - width / 2) / width * 2.5) ** 2 < 1
    return np.where(inside, 60 + rows * 2 + columns, 3).astype(np.uint8)


def draw_noise(dtype: str, *shape: int) -> npt.NDArray[Any]:
    """Pixels of the whole range of a type of integers, or of a wide one of floats."""
    if dtype.startswith("f"):
        return RNG.normal(0, 1000, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def encode_pixels(suffix: str, pixels: npt.NDArray[Any]) -> bytes:
    """Encoded by OpenCV; colours in RGB order go in."""
    ok, data = cv2.imencode(suffix, pixels[..., [2, 1, 0, 3][: pixels.shape[2]]] if pixels.ndim == 3 else pixels)
    assert ok
    return bytes(data)


def read_one_scan(data: bytes) -> Scan:
    """The only scan of a file."""
    (scan,) = read(data, "x")
    return scan


def make_answer(path: str, tumor: float = 0.75, triage: Triage | None = None, frame: int = 0) -> Prediction:
    """A row of a result, for a scan that was assessed."""
    return Prediction(
        path=path,
        frame=frame,
        status="ok",
        label="glioma" if tumor > 0.5 else "no_tumor",
        probabilities={"glioma": tumor, "no_tumor": 1 - tumor},
        tumor_probability=tumor,
        triage=triage or (Triage.PRIORITISE if tumor > 0.5 else Triage.STANDARD),
        reasons=("because", "of this"),
        model=MODEL,
        engine=EngineRef("ort", "CPUExecutionProvider", 2),
        input=InputRef("b" * 64, "png", 8, 9, Intensity("native")),
        timing_ms=Timing(1.0, 1.0, 1.0, 3.0),
        warnings=("small",),
    )


def make_failure(path: str, message: str = "it is cut short") -> Prediction:
    """A row of a result, for a scan that could not be read."""
    return Prediction(path=path, frame=0, status="error", error=ErrorRef("unreadable_scan", message))


def write_rows(
    result_format: str, rows: Sequence[Prediction], out: Path | None, *, sort: bool = False, overwrite: bool = False
) -> bytes:
    """Write a whole result into a file, or to standard output; gives what was written."""
    shown = io.BytesIO()
    with open_writer(result_format, out, sort=sort, overwrite=overwrite, labels=LABELS, stdout=shown) as writer:
        for row in rows:
            writer.write(row)
    return shown.getvalue() if out is None else out.read_bytes()


def find_paths(result_format: str, data: bytes) -> list[str]:
    """The paths of a result's rows, in their order."""
    if result_format == "json":
        return [record["path"] for record in json.loads(data)["records"]]
    if result_format == "jsonl":
        return [json.loads(line)["path"] for line in data.splitlines()]
    if result_format == "csv":
        return [row[0] for row in csv.reader(io.StringIO(data.decode(), newline=""))][1:]
    table = data.decode().split("\n\n")[0].splitlines()
    return [line.split()[0] for line in table[1:]]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def run_classify(source: Path | str, output: Path, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Run the command into JSON lines; gives its exit code and the rows."""
    code = run(["classify", str(source), "--format", "jsonl", "--output", str(output), *options])
    return code, read_rows(output)


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], object], *, seal: bool = True) -> None:
    """Change the manifest that lies in a bundle's folder, and unless told otherwise the hash over what it says, too."""
    tree = json.loads((folder / MANIFEST).read_text())
    change(tree)
    if seal and SEAL in tree:
        tree[SEAL] = answer_sha256(tree)
    (folder / MANIFEST).write_text(json.dumps(tree))


@pytest.fixture(scope="session")
def png_bytes() -> Callable[..., bytes]:
    return write_png


@pytest.fixture(scope="session")
def tiff_bytes() -> Callable[..., bytes]:
    return write_tiff


@pytest.fixture(scope="session")
def bmp_bytes() -> Callable[..., bytes]:
    return write_bmp


@pytest.fixture(scope="session")
def exif_jpeg() -> Callable[..., bytes]:
    return write_jpeg_with_exif


@pytest.fixture(scope="session")
def head() -> npt.NDArray[np.uint8]:
    return draw_head()


@pytest.fixture(scope="session")
def noise() -> Callable[..., npt.NDArray[Any]]:
    return draw_noise


@pytest.fixture(scope="session")
def encode() -> Callable[[str, npt.NDArray[Any]], bytes]:
    return encode_pixels


@pytest.fixture(scope="session")
def read_one() -> Callable[[bytes], Scan]:
    return read_one_scan


@pytest.fixture(scope="session")
def labels() -> tuple[str, ...]:
    """The labels of the model that gave ``answer``."""
    return LABELS


@pytest.fixture(scope="session")
def answer() -> Callable[..., Prediction]:
    return make_answer


@pytest.fixture(scope="session")
def failure() -> Callable[..., Prediction]:
    return make_failure


@pytest.fixture(scope="session")
def mixed() -> list[Prediction]:
    """Rows of every triage, and a failed one; their names say where sorting puts them."""
    return [
        make_answer("standard-low", 0.01),
        make_answer("unsure", 0.6, Triage.CANNOT_ASSESS),
        make_answer("first", 0.99),
        make_failure("broken"),
        make_answer("standard-high", 0.3),
        make_answer("second", 0.8),
    ]


@pytest.fixture(scope="session")
def write_results() -> Callable[..., bytes]:
    return write_rows


@pytest.fixture(scope="session")
def paths_of() -> Callable[[str, bytes], list[str]]:
    return find_paths


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Path], list[dict[str, Any]]]:
    return read_rows


@pytest.fixture(scope="session")
def classify() -> Callable[..., tuple[int, list[dict[str, Any]]]]:
    return run_classify


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder of the sample phantoms."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for spec in SAMPLES:
        cv2.imwrite(str(folder / sample_name(spec)), draw_phantom(spec))
    return folder


@pytest.fixture(scope="session")
def edit_manifest() -> Callable[[Path, Callable[[dict[str, Any]], object]], None]:
    return change_manifest


@pytest.fixture
def bundle_folder(tmp_path: Path, make_manifest: Callable[..., Manifest]) -> Path:
    """A bundle whose only other file, a golden one, needs no engine."""
    (tmp_path / "golden.bin").write_bytes(b"golden" * 100)
    write_manifest(tmp_path, make_manifest(golden=describe_file(tmp_path / "golden.bin")))
    return tmp_path


@pytest.fixture
def scans_alive(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Counts the scans that are read and prepared, and still held by anyone.

    Weak references, because asking the garbage collector for every object there is disturbs threads that are just
    building a tuple.
    """
    made: list[weakref.ref[ReadyScan]] = []
    build = ReadyScan.__init__

    def build_and_watch(self: ReadyScan, *args: Any, **fields: Any) -> None:
        build(self, *args, **fields)
        made.append(weakref.ref(self))

    monkeypatch.setattr(ReadyScan, "__init__", build_and_watch)
    return lambda: sum(scan() is not None for scan in made)


@pytest.fixture
def fake(make_classifier: Callable[..., Classifier]) -> Classifier:
    """A classifier with an engine that is not a real one."""
    return make_classifier()


@pytest.fixture
def real(tiny_bundle: Path) -> Classifier:
    """A classifier with ONNX Runtime and a small graph."""
    return Classifier.load(tiny_bundle, threads=1)


@pytest.fixture
def reading_threads() -> Callable[[], list[str]]:
    """Names the threads of runs that are there now."""
    return lambda: [t.name for t in threading.enumerate() if t.name.startswith("edgebrain-read")]


@pytest.fixture
def _no_reader_is_left(reading_threads: Callable[[], list[str]]) -> Iterator[None]:
    yield
    assert reading_threads() == []
