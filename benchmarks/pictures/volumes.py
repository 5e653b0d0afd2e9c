"""Cut slices of head volumes the way a radiologist looks at them: axial nose up, coronal and sagittal top up.

nibabel and pydicom are imported only by the formats they read.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from pictures.table import Volume

STEP = 3.0
"""Distance between two slices of one view in millimetres."""
BRAIN_HEIGHT = 105.0
"""How far below the top of the head slices are taken, in millimetres: to the level of eyes and cerebellum."""
ENOUGH = 0.5
"""A slice is kept if its head is at least this part of the largest one's area in the same view."""
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}

Grey: TypeAlias = npt.NDArray[np.float32]
Picture: TypeAlias = npt.NDArray[np.uint8]
Loaded: TypeAlias = tuple[Grey, tuple[float, float, float]]
"""Values over (right, anterior, superior), and the sides of a voxel in millimetres."""


def _nifti(path: Path) -> Loaded:
    """Read a NIfTI file; of a series over time, the first."""
    nibabel: Any = import_module("nibabel")
    image = nibabel.as_closest_canonical(nibabel.load(path))
    values = np.asanyarray(image.dataobj).astype(np.float32)
    values = values.reshape(*values.shape[:3], -1)[..., 0]
    x, y, z = (float(side) for side in image.header.get_zooms()[:3])
    return values, (x, y, z)


def _minc(path: Path) -> Loaded:
    """Read an unpacked MINC volume: bytes in one file, their order in a header beside it."""
    header = json.loads(gzip.decompress(path.with_name(path.name.replace(".raw.", ".header.")).read_bytes()))
    order: list[str] = header["order"]
    lengths = [header[axis]["space_length"] for axis in order]
    values = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8).reshape(lengths)
    values = np.flip(values, tuple(i for i, axis in enumerate(order) if header[axis]["step"] < 0))
    spaces = ("xspace", "yspace", "zspace")
    x, y, z = (abs(float(header[space]["step"])) for space in spaces)
    return values.transpose([order.index(space) for space in spaces]).astype(np.float32), (x, y, z)


def _dicom(path: Path) -> Loaded:
    """Read the axial series that a DICOM file belongs to."""
    dcmread = import_module("pydicom").dcmread
    files = [dcmread(file) for file in sorted(path.parent.glob(f"{path.stem.rstrip('0123456789')}*.dcm"))]
    files = [file for file in files if file.SeriesInstanceUID == files[0].SeriesInstanceUID]
    files.sort(key=lambda file: float(file.ImagePositionPatient[2]))
    values = np.stack([file.pixel_array for file in files], axis=-1).astype(np.float32)
    heights = [float(file.ImagePositionPatient[2]) for file in files]
    x, y = (float(side) for side in files[0].PixelSpacing)
    return values[::-1, ::-1].transpose(1, 0, 2), (x, y, abs(heights[-1] - heights[0]) / (len(heights) - 1))


def _nrrd(path: Path) -> Loaded:
    """Read an NRRD file whose axes are those of the patient, as our packages' are."""
    header, packed = path.read_bytes().split(b"\n\n", 1)
    fields = dict(line.split(": ", 1) for line in header.decode().splitlines() if ": " in line)
    kind = np.dtype({"short": "<i2", "int": "<i4"}[fields["type"]])
    values = np.frombuffer(gzip.decompress(packed), kind).reshape([int(n) for n in fields["sizes"].split()], order="F")
    rows = [text.strip("()").split(",") for text in fields["space directions"].split()]
    left, back, up = (float(row[axis]) for axis, row in enumerate(rows))
    values = values[:: -1 if left > 0 else 1, :: -1 if back > 0 else 1, :: 1 if up > 0 else -1]
    return values.astype(np.float32), (abs(left), abs(back), abs(up))


def load(path: Path) -> Loaded:
    """Read a volume.

    Args:
        path: A NIfTI, NRRD or unpacked MINC file, or the first file of an axial DICOM series.

    Returns:
        Its values over (right, anterior, superior), and the sides of a voxel in millimetres.
    """
    if path.name.endswith(".mnc.raw.gz"):
        return _minc(path)
    return {".dcm": _dicom, ".nrrd": _nrrd}.get(path.suffix, _nifti)(path)


def _head(values: Grey, height: float) -> npt.NDArray[np.bool_]:
    """Mark the head, from its top down to the level of eyes and cerebellum.

    Args:
        values: A volume over (right, anterior, superior).
        height: Side of a voxel from bottom to top, in millimetres.

    Returns:
        True where the head is.
    """
    head = values > 0.15 * np.percentile(values, 99)
    areas = head.sum((0, 1))
    top = int(np.flatnonzero(areas > 0.1 * areas.max())[-1])
    head[..., : max(0, round(top - BRAIN_HEIGHT / height))] = False
    return np.asarray(head)


def _upright(values: Grey, axis: int, index: int, sides: tuple[float, ...]) -> Grey:
    """Take one slice, turn it upright with the patient's right on the left, and make its pixels square."""
    plane = np.take(values, index, axis=axis).T[::-1, ::-1]
    across, up = (side for other, side in enumerate(sides) if other != axis)
    finest = min(across, up)
    size = (round(plane.shape[1] * across / finest), round(plane.shape[0] * up / finest))
    if size == plane.shape[::-1]:
        return np.ascontiguousarray(plane)
    return np.asarray(cv2.resize(np.ascontiguousarray(plane), size, interpolation=cv2.INTER_LINEAR), np.float32)


def _indices(head: npt.NDArray[np.bool_], axis: int, side: float, enough: float) -> list[int]:
    """Choose the slices of one view: every few millimetres where enough of the head shows."""
    areas = head.sum(tuple(other for other in range(3) if other != axis))
    wanted = np.flatnonzero(areas >= max(enough * areas.max(), 1))
    step = max(1, round(STEP / side))
    return [int(index) for index in wanted[::step]]


def slices_of(path: Path, volume: Volume) -> Iterator[tuple[str, Picture]]:
    """Cut a volume into slices.

    Args:
        path: The volume's file.
        volume: What is known about it.

    Yields:
        Each slice with its view and index as a name.
    """
    values, sides = load(path)
    if volume.tipped:
        values, sides = values[..., ::-1].transpose(0, 2, 1), (sides[0], sides[2], sides[1])
    head = _head(values, sides[2])
    white = max(float(np.percentile(values[head], 99.5)), 1e-6)
    black = min(max(float(np.percentile(values, 0.5)), 0.0), float(values[head].min()))
    grey = np.clip((values - black) / (white - black), 0, 1).astype(np.float32) * 255
    shown = head if volume.label is None else load(path.with_name(volume.label))[0] > 0
    for view in volume.views:
        axis = AXES[view]
        for index in _indices(shown, axis, sides[axis], ENOUGH if volume.label is None else 0.0):
            yield f"{volume.sequence}_{view}_{index:03d}", _upright(grey, axis, index, sides).round().astype(np.uint8)
