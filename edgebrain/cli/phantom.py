"""``edgebrain phantom``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def phantom(
    *,
    folder: Annotated[Path, typer.Argument(help="Folder to draw into; made if it is missing.")],
    count: Annotated[int, typer.Option("--count", min=1, help="How many; the first six are the demo's.")] = 6,
) -> int:
    """Draw sample pictures that look roughly like head MRI slices. They are drawings, not scans.

    Some calls:

      edgebrain phantom samples/ && edgebrain classify samples/
    """
    from edgebrain.errors import UsageError

    for index in range(count):
        try:
            path = _draw(folder, index)
        except OSError as error:
            raise UsageError(f"Cannot draw into {folder}: {error.strerror}.", remedy="Name another folder.") from error
        typer.echo(path)
    return 0


def _draw(folder: Path, index: int) -> Path:
    from edgebrain.imaging import cv2
    from edgebrain.phantom import LESIONS, SAMPLES, PhantomSpec, draw_phantom, sample_name

    folder.mkdir(parents=True, exist_ok=True)
    more = PhantomSpec(seed=index, lesion=LESIONS[index % len(LESIONS)], t2_like=index % 2 == 0)
    spec = SAMPLES[index] if index < len(SAMPLES) else more
    _, data = cv2.imencode(".png", draw_phantom(spec))
    path = folder / sample_name(spec)
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(data.tobytes())
    temporary.replace(path)
    return path
