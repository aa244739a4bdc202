"""Everybody in turn, on files that are made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.benches import SMALL, changed_transformers, let_take_part

from beamgen import bench


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
