"""What a bench found: a row for each contestant in each workload."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from beamgen.bench.chart import chart
from beamgen.bench.workload import Workload

SCHEMA = 1

SAME = "same tokens"
OTHER = "other tokens"
UNSTEADY = "unsteady tokens"
OWN_WEIGHTS = "own weights"
OWN_PRECISION = "own precision"
FAILED = "failed"
MISSING = "not installed"

#: Verdicts whose times are compared with others'.
BELIEVED = (SAME, OWN_WEIGHTS, OWN_PRECISION)

#: What a verdict says, for a table's legend.
MEANINGS = {
    SAME: "float32, and every token is that of transformers",
    OTHER: "float32, but not transformers' tokens: the time is compared with none",
    UNSTEADY: "not the same in every process: the time is compared with none",
    OWN_WEIGHTS: "quantized, so with tokens of its own, which are the same in every process",
    OWN_PRECISION: "computed in what the library chooses by itself; likewise",
}

Tokens = Sequence[Sequence[Sequence[int]]]


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
    first_seconds: tuple[float, ...] = ()
    load_seconds: tuple[float, ...] = ()
    peak_bytes: int | None = None
    file_bytes: int | None = None
    floor_seconds: float | None = None
    new_tokens: int = 0
    batch_size: int = 1

    @property
    def believed(self) -> bool:
        """Whether its time may be compared."""
        return self.verdict in BELIEVED

    @property
    def median(self) -> float | None:
        """Of ``seconds``."""
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def first(self) -> float | None:
        """Median time to the first token."""
        return statistics.median(self.first_seconds) if self.first_seconds else None

    @property
    def load(self) -> float | None:
        """Median time to load."""
        return statistics.median(self.load_seconds) if self.load_seconds else None

    @property
    def tokens_per_second(self) -> float | None:
        """New tokens of all rows by the whole time."""
        return None if self.median is None else self.new_tokens * self.batch_size / self.median

    @property
    def ms_per_step(self) -> float | None:
        """Of the steps after the first token."""
        if self.median is None or self.first is None or self.new_tokens < 2:
            return None
        return 1000 * (self.median - self.first) / (self.new_tokens - 1)

    @property
    def times_floor(self) -> float | None:
        """How many times the floor it takes."""
        if self.median is None or not self.floor_seconds or not self.believed:
            return None
        return self.median / self.floor_seconds


@dataclass(frozen=True)
class Result:
    """One workload's rows."""

    workload: Workload
    floor_seconds: float
    rows: tuple[Row, ...]

    def row(self, contestant: str) -> Row | None:
        """That contestant's."""
        return next((row for row in self.rows if row.contestant == contestant), None)

    def speed(self, row: Row, against: str) -> float | None:
        """How many times as fast a row is as another; None where one is not believed."""
        other = self.row(against)
        if other is None or not (row.believed and other.believed):
            return None
        return None if not row.median or other.median is None else other.median / row.median


@dataclass(frozen=True)
class BenchReport:
    """All of it.

    Attributes:
        model: what was benched.
        settings: beams, rows, threads, turns, runs, seed.
        bandwidths: bytes per second, once a turn.
        machine: ``machine.describe_machine``.
        versions: of Python and of the packages.
        results: one for each workload.
        command: as it was called.
        started: ISO 8601, UTC.
    """

    model: Mapping[str, Any]
    settings: Mapping[str, Any]
    bandwidths: tuple[float, ...]
    machine: Mapping[str, Any]
    versions: Mapping[str, str | None]
    results: tuple[Result, ...]
    command: tuple[str, ...] = ()
    started: str = ""
    prepared_seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def bandwidth(self) -> float:
        """Median, bytes per second."""
        return statistics.median(self.bandwidths)

    @property
    def legend(self) -> dict[str, str]:
        """What the verdicts in it mean."""
        found = {row.verdict for result in self.results for row in result.rows}
        return {verdict: text for verdict, text in MEANINGS.items() if verdict in found}

    @property
    def floor_doubted(self) -> bool:
        """Whether a float32 row is faster than its floor, as if the machine had been busy."""
        rows = [row for result in self.results for row in result.rows]
        times = [row.times_floor for row in rows if row.precision == "float32"]
        return any(each is not None and each < 1 for each in times)

    @property
    def exit_code(self) -> int:
        """3 where a float32 file of ours has other tokens than transformers, else 0."""
        wrong = (OTHER, UNSTEADY)
        rows = [row for result in self.results for row in result.rows]
        return 3 if any(row.ours and row.verdict in wrong for row in rows) else 0

    def to_json(self) -> dict[str, Any]:
        """The content of ``bench.json``."""
        return {
            "schema": SCHEMA,
            "started": self.started,
            "command": list(self.command),
            "model": dict(self.model),
            "settings": dict(self.settings),
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "bandwidth": {
                "bytes_per_second": self.bandwidth,
                "measured": list(self.bandwidths),
                "doubted": self.floor_doubted,
            },
            "prepared_seconds": dict(self.prepared_seconds),
            "workloads": [_result_json(result) for result in self.results],
        }

    def svg(self) -> str:
        """The chart of ``bench.svg``."""
        return chart(self.to_json())

    def write(self, folder: Path) -> list[Path]:
        """``bench.json`` and ``bench.svg``."""
        folder.mkdir(parents=True, exist_ok=True)
        texts = {
            "bench.json": json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n",
            "bench.svg": self.svg(),
        }
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        return [folder / name for name in texts]


def judge(precision: str, found: Sequence[Tokens], expected: Tokens) -> tuple[str, int]:
    """The verdict, and how many first tokens are the expected ones.

    Args:
        precision: the contestant's.
        found: of each process, new tokens ``[runs, B, N]``; the prompts are the same.
        expected: transformers'.
    """
    equal = min(
        _leading(row, want)
        for process in found
        for run, wanted in zip(process, expected, strict=True)
        for row, want in zip(run, wanted, strict=True)
    )
    if any(process != found[0] for process in found):
        return UNSTEADY, equal
    if precision == "float32":
        return (SAME if all(process == expected for process in found) else OTHER), equal
    return (OWN_PRECISION if precision == "default" else OWN_WEIGHTS), equal


def _leading(row: Sequence[int], want: Sequence[int]) -> int:
    pairs = zip(row, want, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(row), len(want)))


def _result_json(result: Result) -> dict[str, Any]:
    return {
        **asdict(result.workload),
        "floor_seconds": result.floor_seconds,
        "rows": [_row_json(result, row) for row in result.rows],
    }


def _row_json(result: Result, row: Row) -> dict[str, Any]:
    return {
        "contestant": row.contestant,
        "precision": row.precision,
        "ours": row.ours,
        "verdict": row.verdict,
        "reason": row.reason,
        "equal_tokens": row.equal_tokens,
        "median_seconds": row.median,
        "min_seconds": min(row.seconds, default=None),
        "max_seconds": max(row.seconds, default=None),
        "seconds": list(row.seconds),
        "times_transformers": result.speed(row, "transformers"),
        "times_beamgen": result.speed(row, "beamgen"),
        "tokens_per_second": row.tokens_per_second,
        "first_token_seconds": row.first,
        "first_seconds": list(row.first_seconds),
        "ms_per_step": row.ms_per_step,
        "load_seconds": row.load,
        "peak_bytes": row.peak_bytes,
        "file_bytes": row.file_bytes,
        "floor_seconds": row.floor_seconds,
        "times_floor": row.times_floor,
    }
