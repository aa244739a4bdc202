"""A process that searches batches: ``python -m beamgen.batch.worker``.

It is sent pickles on stdin, a job and then batches, and answers on what was its stdout; what
libraries print goes to stderr. It ends when stdin does, even while it searches.
"""

from __future__ import annotations

import os
import pickle
import queue
import sys
import threading
from typing import Any, BinaryIO

from beamgen.batch.search import search
from beamgen.errors import BeamgenError


def main() -> None:
    """Serve one job."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, asked), daemon=True).start()
    try:
        generator = asked.get().generator()
    except BeamgenError as error:
        _send(answers, (error.cause, error.cure))
        return
    _send(answers, None)
    while True:
        _send(answers, search(generator, asked.get()))


def _read(stream: BinaryIO, asked: queue.SimpleQueue[Any]) -> None:
    """What the parent sends, until it is gone."""
    try:
        while True:
            asked.put(pickle.load(stream))
    except (EOFError, pickle.UnpicklingError, OSError):
        os._exit(0)


def _send(stream: BinaryIO, value: Any) -> None:
    try:
        pickle.dump(value, stream)
        stream.flush()
    except OSError:
        os._exit(0)


if __name__ == "__main__":
    main()
