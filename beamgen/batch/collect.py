"""Answers come in any order and become shards: windows whole, and now and then a part of one."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from beamgen.batch.answers import Answer
from beamgen.batch.engine import Answered, Event, Opened
from beamgen.batch.folder import JobFolder

#: Seconds of work that a kill may cost, about.
EVERY = 10.0


@dataclass
class Tally:
    """How far a job is.

    Attributes:
        rows: of the input.
        answered: those that were searched, in earlier runs too.
        failed: those that could not be.
        before: rows that earlier runs had done.
        tokens: that were generated in this run, of each row's best hypothesis.
        memory: bytes that the largest search of this run is estimated to take.
    """

    rows: int
    answered: int = 0
    failed: int = 0
    before: int = 0
    tokens: int = 0
    memory: int = 0

    @property
    def done(self) -> int:
        """Rows that have an answer, be it a failure."""
        return self.answered + self.failed

    def count(self, answers: Iterable[Answer], *, now: bool = True) -> None:
        """Take answers of this run, or of one before."""
        for answer in answers:
            self.failed += answer.hypotheses is None
            self.answered += answer.hypotheses is not None
            self.before += not now
            self.tokens += answer.tokens if now else 0


@dataclass
class _Open:
    """A window with answers, and not all of them."""

    rows: int | None = None
    answers: dict[int, Answer] = field(default_factory=dict)
    unwritten: dict[int, Answer] = field(default_factory=dict)


class Collector:
    """Puts answers on disk."""

    def __init__(self, folder: JobFolder, tally: Tally, every: float = EVERY) -> None:
        """Begin with what is there."""
        self._folder, self._tally, self._every = folder, tally, every
        self._open: dict[int, _Open] = {}
        self._written = time.monotonic()

    def begin(self, window: int, found: dict[int, Answer]) -> None:
        """Take what earlier runs found of a window."""
        self._open[window] = _Open(answers=dict(found))
        self._tally.count(found.values(), now=False)

    def take(self, event: Event) -> None:
        """Take what an engine tells; a window that is complete is written."""
        if isinstance(event, Opened):
            window, answers = event.window.index, event.failed
            state = self._open.setdefault(window, _Open())
            state.rows = event.window.rows
            self._tally.memory = max(self._tally.memory, event.memory)
        else:
            window, answers = event.window, event.answers
            state = self._open.setdefault(window, _Open())
        new = {each.row: each for each in answers if each.row not in state.answers}
        self._tally.count(new.values())
        state.answers |= new
        state.unwritten |= new
        if state.rows == len(state.answers):
            self._folder.close(window, state.answers)
            del self._open[window]
        elif isinstance(event, Answered) and time.monotonic() - self._written >= self._every:
            self.flush()

    def flush(self) -> None:
        """Write what is not on disk yet."""
        for window, state in self._open.items():
            if state.unwritten:
                self._folder.add(window, state.unwritten.values())
                state.unwritten = {}
        self._written = time.monotonic()
