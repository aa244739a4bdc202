"""What is asked of a bench, and what it becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from beamgen import BeamgenError, bench
from beamgen.bench.request import bench_request
from beamgen.bench.workload import Conditions, Workload
from beamgen.runtime.machine import available_cores


def test_an_option_that_there_is_not_is_refused_as_python_does() -> None:
    with pytest.raises(TypeError, match=r"bench\(\) got an unexpected keyword argument 'beams'"):
        bench(beams=5)  # type: ignore[call-arg]


def test_what_is_not_said_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["script.py", "--fast"])
    request = bench_request(None, {})
    assert request.conditions == Conditions(5, 1, available_cores(), 3, 3, 0, 3600.0)
    assert request.workloads == (Workload(64, 64),)
    assert request.contestants[0].name == "transformers"
    assert not any(contestant.missing for contestant in request.contestants)
    assert request.command == ("script.py", "--fast")
    assert (request.model, request.shape, request.workdir) == (None, None, None)


def test_what_is_said_is_taken(tmp_path: Path) -> None:
    request = bench_request(
        tmp_path, {"workloads": ["6+5", Workload(6, 5)], "against": ["all"], "seed": 7, "turns": 1}
    )
    assert request.model == str(tmp_path)
    assert request.workloads == (Workload(6, 5),)
    assert (request.conditions.seed, request.conditions.turns) == (7, 1)
    assert len(request.contestants) > 10, "also those that are not installed"
    with pytest.raises(BeamgenError, match="there is no workload"):
        bench_request(tmp_path, {"workloads": []})
