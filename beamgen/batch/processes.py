"""Batches are searched in processes of their own; one that dies is replaced."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from beamgen.batch.answers import Answer
from beamgen.batch.engine import Answered, Done, Event, Opened, still_to_do
from beamgen.batch.job import Job
from beamgen.batch.plan import Batch, Planner
from beamgen.batch.reading.rows import Window
from beamgen.errors import BatchError, PackageError

#: How often a batch may lose its process before its rows are searched one by one; and a row.
ATTEMPTS = 2

#: What a worker's interpreter runs.
COMMAND = ["-m", "beamgen.batch.worker"]

#: A process that dies before it is ready, this often in a row, is not replaced. The others go on.
_STARTS = 3


class Processes:
    """The engine of one machine with several workers."""

    def __init__(self, job: Job, workers: int) -> None:
        """Start nothing yet.

        Args:
            job: what they are to search, with threads of their own.
            workers: how many.
        """
        self._job, self._count = job, workers
        self._tasks: queue.Queue[Batch | None] = queue.Queue()
        self._done: queue.Queue[Answered | BaseException] = queue.Queue()
        self._left = workers  # that have not given up

    def describe(self) -> str:
        """See ``Engine``."""
        threads = self._job.runtime.threads or 1
        return f"{self._count} processes of {threads} thread{'s' if threads > 1 else ''}"

    def run(self, windows: Iterable[Window], done: Done) -> Iterator[Event]:
        """See ``Engine``."""
        workers = [_Worker(self._job, self._tasks, self._done) for _ in range(self._count)]
        try:
            for worker in workers:
                worker.start()
            yield from self._events(windows, done)
        finally:
            for worker in workers:
                worker.stop()

    def _events(self, windows: Iterable[Window], done: Done) -> Iterator[Event]:
        reader, planner = self._job.reader(), Planner(self._job, self._job.generator(load=False))
        pending = 0
        for window in windows:
            planned = planner.plan(window, reader.read(window))
            batches = still_to_do(planned.batches, done(window.index))
            yield Opened(window, planned.failed, planned.memory)
            for batch in batches:
                self._tasks.put(batch)
                pending += 1
            # while a window is planned, the workers have something to do
            while pending > max(2 * self._count, len(batches) // 2):
                yield self._next()
                pending -= 1
        for _ in range(pending):
            yield self._next()

    def _next(self) -> Answered:
        while not isinstance(found := self._done.get(), Answered):
            self._left -= 1
            if not isinstance(found, BatchError) or not self._left:
                raise found
        return found


class _Worker(threading.Thread):
    """Hands tasks to a process, one at a time, and takes its answers."""

    def __init__(self, job: Job, tasks: queue.Queue[Any], done: queue.Queue[Any]) -> None:
        super().__init__(daemon=True)
        self._job, self._tasks, self._answers = job, tasks, done
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def run(self) -> None:
        batch = None
        try:
            self._ready()
            while (batch := self._tasks.get()) is not None and not self._stopped:
                self._answers.put(Answered(batch.window, tuple(self._search(batch))))
            self._tasks.put(None)  # what told this one to end may have been another's
        except BaseException as error:  # the other thread raises it, if none is left to go on
            if not self._stopped:
                if batch is not None:
                    self._tasks.put(batch)
                self._answers.put(error)

    def stop(self) -> None:
        """End thread and process, whatever they do."""
        self._stopped = True
        self._tasks.put(None)
        while self.is_alive():
            process = self._process
            if process is not None:
                process.kill()
            self.join(timeout=0.2)
        if self._process is not None:
            self._process.kill()
            self._ended()

    def _search(self, batch: Batch) -> list[Answer]:
        """Answers of a batch, be it that processes die of it."""
        for _ in range(ATTEMPTS):
            process = self._ready()
            try:
                _send(process, batch)
                return list(_receive(process))
            except (OSError, EOFError, pickle.UnpicklingError):
                ended = self._ended()
                if self._stopped:
                    return []
        if len(batch.rows) == 1:
            return [
                Answer(
                    batch.rows[0],
                    reason=f"the process that searched it {ended}, {ATTEMPTS} times",
                    fix="search it with more memory, or a shorter prompt",
                )
            ]
        return [answer for single in batch.alone() for answer in self._search(single)]

    def _ready(self) -> subprocess.Popen[bytes]:
        """The process, started where there is none.

        Raises:
            PackageError: the package does not load there.
            BatchError: it dies as it starts.
        """
        if self._process is not None:
            return self._process
        ended = ""
        for _ in range(_STARTS):
            if self._stopped:
                break
            process = self._process = _started()
            try:
                _send(process, self._job)
                wrong = _receive(process)
            except (OSError, EOFError, pickle.UnpicklingError):
                ended = self._ended()
                continue
            if wrong is not None:
                raise PackageError(*wrong)
            return process
        raise BatchError(
            f"a process that loads the package {ended}, {_STARTS} times",
            "use fewer --processes, or free memory; beamgen doctor tells what a package needs",
        )

    def _ended(self) -> str:
        """How the process ended; there is none then."""
        process, self._process = self._process, None
        assert process is not None
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            code = process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code >= 0:
            return f"ended with exit code {code}"
        name = signal.Signals(-code).name
        return f"was killed by {name}{', as when memory runs out' if name == 'SIGKILL' else ''}"


def _started() -> subprocess.Popen[bytes]:
    """A process that waits for its job."""
    path = os.pathsep.join(each for each in sys.path if each)
    return subprocess.Popen(
        [sys.executable, *COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )


def _send(process: subprocess.Popen[bytes], value: Any) -> None:
    assert process.stdin is not None
    pickle.dump(value, process.stdin)
    process.stdin.flush()


def _receive(process: subprocess.Popen[bytes]) -> Any:
    assert process.stdout is not None
    return pickle.load(process.stdout)
