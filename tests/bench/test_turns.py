"""Everybody in turn, on files that are made once."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.benches import SMALL, changed_transformers, let_take_part

from beamgen import bench
from beamgen.bench import turns


def test_turns_begin_with_another(
    jobs_in_process, checkpoints, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = [changed_transformers(name, lambda rows, new: rows) for name in ("one", "two")]
    let_take_part(monkeypatch, *same)
    settings = {**SMALL, "workloads": ["6+5", "3+2", "6+5"], "turns": 4, "runs": 1}
    report = bench(checkpoints("gpt2"), against=["one", "two"], workdir=workdir, **settings)
    ran = [job["contestant"] for job in jobs_in_process if job["job"] == "search"]
    order = ["transformers", "one", "two"]
    orders = [order, [*order[1:], order[0]], [order[2], *order[:2]], order]
    assert ran == [name for turn in orders for _ in range(2) for name in turn]
    assert [str(result.workload) for result in report.results] == ["6+5", "3+2"]
    assert len(report.results[1].row("two").seconds) == 4
    assert len(report.bandwidths) == 4
    assert "prepare" not in {job["job"] for job in jobs_in_process}, "what is there is used again"


def test_a_second_series_runs_beside_busy_neighbours(
    jobs_in_process, checkpoints, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside: list[int] = []
    now = [0]

    @contextlib.contextmanager
    def counted(count: int) -> Iterator[None]:
        now[0] = count
        yield
        now[0] = 0

    def noted(rows: list[list[int]], new: int) -> list[list[int]]:
        beside.append(now[0])
        return rows

    monkeypatch.setattr(turns, "neighbours", counted)
    let_take_part(monkeypatch, changed_transformers("one", noted))
    report = bench(checkpoints("gpt2"), against=["one"], workdir=workdir, busy=2, **SMALL)
    (result,) = report.results
    half = len(beside) // 2
    assert beside == [0] * half + [2] * half
    for row in result.rows:
        assert row.verdict == "same tokens"
        assert len(row.busy_seconds) == len(row.seconds)
        assert row.slowed == pytest.approx(row.busy / row.median)
    assert report.to_json()["workloads"][0]["rows"][1]["busy_seconds"] == [*row.busy_seconds]
    assert report.to_json()["settings"]["busy"] == 2


def test_tokens_beside_busy_neighbours_count_too(
    jobs_in_process, checkpoints, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count()

    def wrong_later(rows: list[list[int]], new: int) -> list[list[int]]:
        # each series: a search to warm up, then for each run one of a token and one of all
        late = next(calls) >= 1 + 2 * SMALL["runs"]
        return [[3 + late, *row[1:]] for row in rows]

    monkeypatch.setattr(turns, "neighbours", lambda count: contextlib.nullcontext())
    let_take_part(monkeypatch, changed_transformers("one", wrong_later))
    report = bench(checkpoints("gpt2"), against=["one"], workdir=workdir, busy=1, **SMALL)
    assert report.results[0].row("one").verdict == "unsteady tokens"
