"""A process that measures one thing: it inherits neither memory nor threads of what was measured before.

Usage, by :mod:`edgebrain.benchmark.launching` alone: child.py REQUEST.json REPLY.json
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgebrain.benchmark.requests import FreshReply, FreshRequest, Reply, Request


def main(arguments: list[str] | None = None) -> int:
    """Serve one request; an error of ours is an answer, too.

    Returns:
        0, when there is an answer.
    """
    began = time.perf_counter()
    # As the command does for itself: nothing here multiplies matrices with NumPy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import msgspec

    from edgebrain.benchmark.requests import ErrorReply, Reply, Request
    from edgebrain.errors import EdgebrainError

    source, target = sys.argv[1:] if arguments is None else arguments
    request = msgspec.json.decode(Path(source).read_bytes(), type=Request)
    try:
        reply = _answer(request, began)
    except EdgebrainError as error:
        reply = Reply(error=ErrorReply(error.message, error.remedy, error.exit_code))
    Path(target).write_bytes(msgspec.json.encode(reply))
    return 0


def _answer(request: Request, began: float) -> Reply:
    from edgebrain.benchmark.requests import Reply

    if request.fresh is not None:
        return Reply(fresh=_fresh(request.fresh, began))
    assert request.case is not None
    from edgebrain.benchmark.measuring import measure_case

    return Reply(case=measure_case(request.case))


def _fresh(request: FreshRequest, began: float) -> FreshReply:
    from edgebrain.benchmark import memory
    from edgebrain.benchmark.requests import FreshReply
    from edgebrain.classifier import Classifier

    imported = time.perf_counter()
    config = request.config
    classifier = Classifier.load(
        config.model,
        engine=config.engine,
        precision=config.precision,
        threads=config.threads,
        device=config.device,
        throughput=True,  # as the command does
    )
    loaded = time.perf_counter()
    ready = next(classifier.read(request.file))
    if ready.error is not None:
        raise ready.error
    classifier.predict([ready])
    answered = time.perf_counter()
    classifier.close()
    return FreshReply(
        import_ms=(imported - began) * 1e3,
        load_ms=(loaded - imported) * 1e3,
        first_ms=(answered - loaded) * 1e3,
        peak_mb=memory.peak(),
    )
