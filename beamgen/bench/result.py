"""The result of a workload: a row for each contestant."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from beamgen.bench.verdict import COMPARABLE
from beamgen.bench.workload import Workload


@dataclass(frozen=True)
class Row:
    """One contestant in one workload; times in seconds, sizes in bytes.

    Attributes:
        contestant: its name.
        precision: what it was asked to compute in.
        ours: one of beamgen's.
        verdict: one of ``MEANINGS``, or failed, or not installed.
        reason: of one that failed, in a line.
        equal_tokens: how many tokens are transformers', up to the first other one; of the
            run and row where it is least.
        seconds: of all timed runs.
        busy_seconds: of all timed runs beside busy neighbours; none without such a series.
        first_seconds: of all runs that stop at their first token.
        load_seconds: of each process.
        peak_bytes: most memory of a process, everything counted.
        file_bytes: of the files that are loaded.
        floor_seconds: what reading alone takes, see ``beamgen.bench.floor``.
        new_tokens, batch_size: of the workload, for the rates.
    """

    contestant: str
    precision: str
    ours: bool
    verdict: str
    reason: str | None = None
    equal_tokens: int | None = None
    seconds: tuple[float, ...] = ()
    busy_seconds: tuple[float, ...] = ()
    first_seconds: tuple[float, ...] = ()
    load_seconds: tuple[float, ...] = ()
    peak_bytes: int | None = None
    file_bytes: int | None = None
    floor_seconds: float | None = None
    new_tokens: int = 0
    batch_size: int = 1

    @property
    def comparable(self) -> bool:
        """Whether its time may be compared."""
        return self.verdict in COMPARABLE

    @property
    def median(self) -> float | None:
        """Median of all timed runs, in seconds."""
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def busy(self) -> float | None:
        """Median of all timed runs beside busy neighbours, in seconds."""
        return statistics.median(self.busy_seconds) if self.busy_seconds else None

    @property
    def slowed(self) -> float | None:
        """How many times as long a search takes beside busy neighbours."""
        return None if self.busy is None or not self.median else self.busy / self.median

    @property
    def first(self) -> float | None:
        """Median time to the first token, in seconds."""
        return statistics.median(self.first_seconds) if self.first_seconds else None

    @property
    def load(self) -> float | None:
        """Median time to load, in seconds."""
        return statistics.median(self.load_seconds) if self.load_seconds else None

    @property
    def tokens_per_second(self) -> float | None:
        """New tokens of all rows in a second of the whole time."""
        return None if self.median is None else self.new_tokens * self.batch_size / self.median

    @property
    def ms_per_step(self) -> float | None:
        """Milliseconds of each step after the first token."""
        if self.median is None or self.first is None or self.new_tokens < 2:
            return None
        return 1000 * (self.median - self.first) / (self.new_tokens - 1)

    @property
    def times_floor(self) -> float | None:
        """How many times the floor it takes."""
        if self.median is None or not self.floor_seconds or not self.comparable:
            return None
        return self.median / self.floor_seconds


@dataclass(frozen=True)
class Result:
    """One workload's rows.

    Attributes:
        workload: what was searched.
        floor_seconds: what reading alone takes in float32.
        rows: one for each contestant.
    """

    workload: Workload
    floor_seconds: float
    rows: tuple[Row, ...]

    def row(self, contestant: str) -> Row | None:
        """The row of a contestant, if it took part."""
        return next((row for row in self.rows if row.contestant == contestant), None)

    def times_as_fast(self, row: Row, than: str) -> float | None:
        """How many times as fast a row is as another; None where one is not comparable."""
        other = self.row(than)
        if other is None or not (row.comparable and other.comparable):
            return None
        return None if not row.median or other.median is None else other.median / row.median
