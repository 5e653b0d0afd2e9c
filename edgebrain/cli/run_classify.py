"""What ``edgebrain classify`` does."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from edgebrain import inputs
from edgebrain.cli.progress import progress
from edgebrain.errors import EXIT_OK, EXIT_SOME_FAILED, UsageError
from edgebrain.pipeline import run_pipeline
from edgebrain.results.writers import open_writer

if TYPE_CHECKING:
    from edgebrain.classifier import Classifier
    from edgebrain.cli.requests import ModelRequest
    from edgebrain.results.resume import Resume
    from edgebrain.types import Prediction


_LIST = "-"
_STANDARD_OUTPUT = Path("-")


@dataclass(frozen=True)
class ClassifyRequest:
    """The command's options; see its help."""

    paths: tuple[str, ...]
    recursive: bool
    watch: str | None
    model: ModelRequest
    batch_size: int
    output_format: str
    output: Path | None
    resume: bool
    overwrite: bool
    sort: bool
    fail_fast: bool


def run_classify(request: ClassifyRequest) -> int:
    """Classify what was asked for and write the results.

    Returns:
        EXIT_OK, or EXIT_SOME_FAILED when a scan has no answer.

    Raises:
        EdgebrainError: The request, the model or the output cannot be used.
    """
    _check(request)
    output = None if request.output == _STANDARD_OUTPUT else request.output
    with closing(request.model.load()) as classifier:
        writer = open_writer(
            request.output_format,
            output,
            resume=request.resume,
            overwrite=request.overwrite,
            sort=request.sort,
            labels=classifier.bundle.manifest.labels,
        )
        # An earlier part of the same result counts: its failed rows are in the file that this run completes.
        failed = writer.resumed is not None and writer.resumed.failed > 0
        with writer, closing(_predictions(request, classifier, writer.resumed)) as predictions:
            for prediction in predictions:
                writer.write(prediction)
                if prediction.status == "error":
                    failed = True
                    if request.fail_fast:
                        break
    return EXIT_SOME_FAILED if failed else EXIT_OK


def _check(request: ClassifyRequest) -> None:
    if request.paths.count(_LIST) > 1:
        raise UsageError("Standard input can be read only once.", remedy="Name - once among the paths.")
    if request.watch is not None:
        if request.paths:
            raise UsageError("--watch takes no further paths.", remedy="Give either paths or --watch DIR.")
        if request.sort or request.output_format in ("table", "json"):
            raise UsageError(
                "--watch never ends, so its results cannot be a whole.", remedy="Use --format jsonl or csv."
            )
        if not Path(request.watch).is_dir():
            raise UsageError(f"--watch {request.watch}: there is no such folder.")


def _predictions(
    request: ClassifyRequest, classifier: Classifier, resumed: Resume | None
) -> Generator[Prediction, None, None]:
    if resumed is not None:
        resumed.check_model(classifier.model)
    if request.watch is not None:
        for look in inputs.watch(request.watch, recursive=request.recursive):
            # Earlier rows speak of files that were there before; what arrives under an old name is another scan.
            ready = [*_remaining(look.there, resumed), *look.arrived]
            yield from run_pipeline(classifier, ready, batch_size=request.batch_size)
        return
    items = _remaining(inputs.expand(_names(request.paths), recursive=request.recursive), resumed)
    with progress(items, "classifying", endless=_LIST in request.paths) as shown:
        yield from shown.count(run_pipeline(classifier, shown.items, batch_size=request.batch_size))


def _names(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if path == _LIST:
            yield from _listed()
        else:
            yield path


def _listed() -> Iterator[str]:
    listed: TextIO | None = sys.stdin  # None where the process was started without one
    if listed is None:
        raise UsageError("Standard input is closed.", remedy=f"Name paths, or pipe a list of them into '{_LIST}'.")
    return inputs.from_stream(listed.buffer)


def _remaining(items: Iterable[inputs.Item], resumed: Resume | None) -> Iterator[inputs.Item]:
    if resumed is None or not resumed.count:
        yield from items
        return
    # One at a time: the earlier rows know paths only, and each item must come out as what it was.
    current: list[inputs.Item] = []

    def names() -> Iterator[str]:
        for item in items:
            current[:] = [item]
            yield item if isinstance(item, str) else item.path

    for path, frames in resumed.pending(names()):
        yield inputs.Partial(path, frames) if frames else current[0]
