"""What runs a job's batches: here in this process, in several, or on Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from beamgen.batch.answers import Answer
from beamgen.batch.plan import Batch
from beamgen.batch.reading.rows import Window


@dataclass(frozen=True)
class Opened:
    """A window was planned.

    Attributes:
        window: it.
        failed: rows that cannot be searched.
        memory: bytes that its largest search is estimated to take.
    """

    window: Window
    failed: tuple[Answer, ...]
    memory: int = 0


@dataclass(frozen=True)
class Answered:
    """A batch was searched.

    Attributes:
        window: the index of its window.
        answers: one for each of its rows.
    """

    window: int
    answers: tuple[Answer, ...]


Event = Opened | Answered

#: The rows of a window that have an answer already.
Done = Callable[[int], frozenset[int]]


class Engine(Protocol):
    """Runs batches."""

    def run(self, windows: Iterable[Window], done: Done) -> Iterator[Event]:
        """Plan windows and search their batches, in any order.

        A batch whose rows are all done is left out. ``Opened`` may come after the window's
        first ``Answered``.
        """

    def describe(self) -> str:
        """What was chosen, in a few words: ``2 processes of 1 thread``."""


def still_to_do(batches: Iterable[Batch], done: frozenset[int]) -> list[Batch]:
    """Batches with a row that has no answer yet."""
    return [batch for batch in batches if not set(batch.rows) <= done]
