"""What came of a job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BatchReport:
    """What ``batch`` did.

    Attributes:
        output: the folder.
        results: the file of rows with their hypotheses, in input order.
        failed: the file of rows that could not be searched, with their reasons.
        rows: of the input.
        answered_rows: those that were searched, in earlier runs of the same job too.
        failed_rows: those that could not be.
        resumed_rows: those of both kinds that earlier runs had done.
        tokens: generated in this run, of each row's best hypothesis.
        seconds: of this run.
        engine: what it ran on, in a few words.
        process_bytes: what each process was estimated to hold at its peak in this run; 0 where
            nothing was searched.
    """

    output: Path
    results: Path
    failed: Path
    rows: int
    answered_rows: int
    failed_rows: int
    resumed_rows: int
    tokens: int
    seconds: float
    engine: str
    process_bytes: int


@dataclass(frozen=True)
class BatchProgress:
    """How far a job is, as ``batch`` tells its caller now and then.

    Attributes:
        stage: what it does, in a few words.
        rows: of the input; 0 where it is not known yet.
        done: of them that have an answer or failed.
        failed: of these, those that failed.
        resumed: of these, those of earlier runs.
        tokens: generated in this run.
        seconds: of this run.
        engine: what it runs on, in a few words; empty before that is chosen.
        settings: columns that are settings of their rows.
    """

    stage: str
    rows: int = 0
    done: int = 0
    failed: int = 0
    resumed: int = 0
    tokens: int = 0
    seconds: float = 0.0
    engine: str = ""
    settings: tuple[str, ...] = ()
