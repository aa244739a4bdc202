"""What the tests of the bench share."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from beamgen import BenchReport
from beamgen.bench import opening, request, turns, worker
from beamgen.bench.contestant import Contestant
from beamgen.bench.discovery import contestants
from beamgen.bench.processes import check_answer
from beamgen.bench.workload import Conditions, Task
from beamgen.bench.workspace import Workspace
from beamgen.cli import main

#: What the tests' environment brings; the others are run where somebody installed them.
INSTALLED = ("transformers", "beamgen", "beamgen-contrib", "ortmodel", "genai")
SMALL = {"workloads": ["6+5"], "num_beams": 4, "threads": 1, "turns": 1, "runs": 2}


def run_in_process(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every job in this process, through the same JSON; and a list of those that ran."""
    ran: list[dict[str, Any]] = []

    def run(job: str, conditions: Conditions, **arguments: Any) -> dict[str, Any]:
        ran.append({"job": job, **arguments})
        if job == "bandwidth":
            return {"bandwidth": 1e9 * len(ran)}
        answer = worker.answer_to(json.loads(json.dumps(ran[-1])))
        return check_answer(json.loads(json.dumps(answer)))

    for module in (opening, turns):
        monkeypatch.setattr(module, "run_job", run)
    return ran


def let_take_part(monkeypatch: pytest.MonkeyPatch, *others: Contestant) -> None:
    """Make them contestants, besides those that there are."""
    both = {**contestants(), **{each.name: each for each in others}}
    for module in (request, worker):
        monkeypatch.setattr(module, "contestants", lambda: both)


def changed_transformers(name: str, change: Callable[[Any, int], Any], **values: Any) -> Contestant:
    """transformers, with its tokens changed."""

    def load(workspace: Workspace, task: Task) -> Callable[..., Any]:
        search = contestants()["transformers"].load(workspace, task)
        return lambda ids, new: change(search(ids, new), new)

    return Contestant(name=name, load=load, needs=(), **{"requires": (), **values})


def printed(report: BenchReport) -> str:
    """What the command prints of a report."""
    from beamgen.cli import bench as cli

    runner, found = CliRunner(), SimpleNamespace(bench=lambda **_: report)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli.beamgen, "bench", found.bench, raising=False)
        result = runner.invoke(main, ["bench"])
    assert result.exit_code == report.exit_code, result.output
    return result.output
