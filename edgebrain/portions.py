"""Files under way: short ones come whole, long ones in bounded portions when their turn has come.

Only prepared inputs (a few kB a frame, of at most FRAMES_AHEAD frames a file) wait for their turn, never decoded images
or the bytes of a file. A file of more frames is closed after its first one and read when its turn has come, so that one
such file is open, however many are under way.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from edgebrain.inputs import Item, Middle, Partial, Refused
from edgebrain.readers import middle
from edgebrain.ready import ReadyScan, refused

if TYPE_CHECKING:
    from edgebrain.classifier import Classifier

FRAMES_AHEAD = 64
"""Frames of a file that are prepared before they are asked for; files of more wait for their turn, closed."""


class FileUnderWay:
    """A file that is read in the background.

    Args:
        classifier: Reads it.
        item: The file.
    """

    def __init__(self, classifier: Classifier, item: Item) -> None:
        self._classifier = classifier
        self._item = item
        self._rest: Iterator[ReadyScan] = iter(())

    def whole(self) -> list[ReadyScan] | None:
        """All frames of a file of at most FRAMES_AHEAD; None for a longer one, of which nothing is kept."""
        frames = self._read()
        first = list(itertools.islice(frames, 1))
        if first and first[0].scan is not None and first[0].scan.frames > FRAMES_AHEAD:
            return None
        return list(_wanted(self._item, itertools.chain(first, frames)))

    def open(self) -> None:
        """Start a long file from its beginning; it stays open between portions."""
        self._rest = _wanted(self._item, self._read())

    def portion(self) -> list[ReadyScan]:
        """The next frames of an opened file, at most FRAMES_AHEAD; an empty list at its end."""
        return list(itertools.islice(self._rest, FRAMES_AHEAD))

    def _read(self) -> Iterator[ReadyScan]:
        item = self._item
        if isinstance(item, Refused):
            return iter([refused(item.path, item.error)])
        return self._classifier.read(item if isinstance(item, str) else item.path)


def _wanted(item: Item, frames: Iterator[ReadyScan]) -> Iterator[ReadyScan]:
    if isinstance(item, Partial):
        return (ready for ready in frames if ready.frame not in item.done)
    if isinstance(item, Middle):
        found = (ready for ready in frames if ready.scan is None or ready.frame == middle(ready.scan.frames))
        return itertools.islice(found, 1)  # what comes behind it is not looked at
    return frames


def in_portions(file: FileUnderWay, pool: ThreadPoolExecutor) -> Iterator[ReadyScan]:
    """The frames of a long file, a portion read ahead."""
    file.open()
    portion = pool.submit(file.portion).result()
    while portion:
        following = pool.submit(file.portion) if len(portion) == FRAMES_AHEAD else None
        yield from portion
        portion = following.result() if following else []
