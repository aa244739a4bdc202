"""Batches are searched in this process, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from beamgen.batch.engine import Answered, Done, Event, Opened, still_to_do
from beamgen.batch.job import Job
from beamgen.batch.plan import Planner
from beamgen.batch.reading.rows import Window
from beamgen.batch.search import search
from beamgen.runtime.machine import available_cores


class Here:
    """The engine of one session: an operator has all threads, and providers other than the CPU."""

    def __init__(self, job: Job) -> None:
        """Load nothing yet."""
        self._job = job

    def describe(self) -> str:
        """See ``Engine``."""
        threads = self._job.runtime.threads or available_cores()
        return f"1 process of {threads} thread{'s' if threads > 1 else ''}"

    def run(self, windows: Iterable[Window], done: Done) -> Iterator[Event]:
        """See ``Engine``."""
        reader, generator = self._job.reader(), self._job.generator()
        planner = Planner(self._job, generator)
        for window in windows:
            planned = planner.plan(window, reader.read(window))
            batches = still_to_do(planned.batches, done(window.index))
            yield Opened(window, planned.failed, planned.memory)
            for batch in batches:
                yield Answered(window.index, tuple(search(generator, batch)))
