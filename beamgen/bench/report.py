"""The report of a bench: what was timed, where, and with which result."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from beamgen.bench.chart import chart
from beamgen.bench.result import Result, Row
from beamgen.bench.verdict import MEANINGS, OTHER, UNSTEADY
from beamgen.disk import local, write_text

SCHEMA = 1


@dataclass(frozen=True)
class BenchReport:
    """What a bench found, and all that its figures depend on.

    Attributes:
        model: name and sizes of the model that was searched.
        settings: beams, rows, threads, turns, runs, seed.
        bandwidths: bytes per second, once a turn.
        machine: ``machine.describe_machine``.
        versions: of Python and of the packages.
        results: one for each workload.
        command: as it was called.
        started: ISO 8601, UTC.
        prepared_seconds: what each preparation took, by name.
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
        """Bytes per second that the machine reads, the median of the turns."""
        return statistics.median(self.bandwidths)

    @property
    def legend(self) -> dict[str, str]:
        """What the verdicts in the report mean."""
        found = {row.verdict for result in self.results for row in result.rows}
        return {verdict: text for verdict, text in MEANINGS.items() if verdict in found}

    @property
    def below_floor(self) -> bool:
        """Whether a float32 row is faster than its floor, as if the machine had been busy."""
        rows = [row for result in self.results for row in result.rows]
        times = [row.times_floor for row in rows if row.precision == "float32"]
        return any(each is not None and each < 1 for each in times)

    @property
    def exit_code(self) -> int:
        """3 where a float32 file of ours has other tokens than transformers, for the command."""
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
                "doubted": self.below_floor,
            },
            "prepared_seconds": dict(self.prepared_seconds),
            "workloads": [_result_json(result) for result in self.results],
        }

    def svg(self) -> str:
        """The chart of ``bench.svg``."""
        return chart(self.to_json())

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write ``bench.json`` and ``bench.svg``, and say where they are."""
        folder = local(folder)
        folder.mkdir(parents=True, exist_ok=True)
        texts = {
            "bench.json": json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n",
            "bench.svg": self.svg(),
        }
        for name, text in texts.items():
            write_text(folder / name, text)
        return [folder / name for name in texts]


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
        "busy_seconds": list(row.busy_seconds),
        "times_transformers": result.times_as_fast(row, "transformers"),
        "times_beamgen": result.times_as_fast(row, "beamgen"),
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
