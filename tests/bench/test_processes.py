"""A job in a process of its own answers, or says why not."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from beamgen import BeamgenError
from beamgen.bench.processes import describe_crash, neighbours, run_job
from beamgen.bench.workload import Conditions


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError, match="TypeError: bandwidth"):
        run_job("bandwidth", Conditions(timeout=60.0), colour="red")
    with pytest.raises(BeamgenError, match=r"gave no answer in 0\.01 s"):
        run_job("bandwidth", Conditions(timeout=0.01), readers=1)
    log = tmp_path / "log"
    log.write_text("loading\nout of luck\n")
    assert describe_crash(-9, log) == "killed by SIGKILL, as when memory runs out: out of luck"
    assert describe_crash(1, log) == "ended with exit code 1: out of luck"


def test_neighbours_run_until_they_are_not_needed() -> None:
    mine = psutil.Process()
    with neighbours(2):
        found = [each for each in mine.children() if "while True" in " ".join(each.cmdline())]
        assert len(found) == 2
        assert all(each.is_running() for each in found)
    assert not any(each.is_running() for each in found)
