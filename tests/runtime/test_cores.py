"""Whether other processes keep the cores busy."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from beamgen import Generator, Package
from beamgen.bench.processes import neighbours
from beamgen.runtime import session
from beamgen.runtime.cores import contended, seen

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or not Path("/proc/stat").exists(), reason="Linux alone"
)


def _stat(path: Path, idle: dict[int, float]) -> Path:
    """A file as the kernel's, in which cores were idle for so many seconds."""
    hertz = os.sysconf("SC_CLK_TCK")
    rows = [f"cpu{core} 9 9 9 {round(idle[core] * hertz)} 0 9 9 0 0 0" for core in idle]
    path.write_text("\n".join(["cpu  1 2 3 4 5 6 7 0 0 0", *rows, "ctxt 123", ""]))
    return path


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process may use cores 2 and 5 of eight."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {2, 5})


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("idle", "own", "threads", "expected"),
    [
        ({2: 1.0, 5: 1.0}, 0.0, 2, False),
        ({2: 1.0, 5: 0.0}, 1.0, 2, False),  # this process itself is the busy one
        ({2: 1.0, 5: 0.0}, 0.0, 2, True),
        ({2: 1.0, 5: 0.0}, 0.0, 1, False),
        ({2: 0.5, 5: 0.4}, 0.0, 2, True),
        ({2: 0.9, 5: 0.8}, 0.0, 2, False),
        ({2: 0.0, 5: 0.0}, 0.0, 1, True),
        ({2: 1.0, 5: 1.0}, 0.0, 16, False),  # more threads than cores are nobody else's doing
        ({2: 0.1, 5: 0.1, 0: 1.0, 1: 1.0, 3: 1.0}, 0.0, 2, True),  # cores of others do not count
    ],
)
def test_cores_that_others_keep_busy(
    idle: dict[int, float], own: float, threads: int, expected: bool, tmp_path: Path
) -> None:
    file = _stat(tmp_path / "stat", dict.fromkeys(idle, 100.0))
    since = seen(file)
    since = replace(since, time=since.time - 1, own=since.own - own)
    _stat(file, {core: 100 + seconds for core, seconds in idle.items()})
    assert contended(threads, since, file) is expected


def test_nobody_tells_of_cores(tmp_path: Path) -> None:
    assert not contended(2, seen(tmp_path / "none"), tmp_path / "none")


def test_a_moment_long_ago_tells_nothing(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    file = _stat(tmp_path / "stat", {core: 100.0})
    old = replace(seen(file), time=seen(file).time - 60)
    _stat(file, {core: 160.0})
    assert contended(1, old, file), "since now, the core of this file is never idle"


def test_neighbours_are_seen() -> None:
    with neighbours(2 * len(os.sched_getaffinity(0))):
        assert contended(len(os.sched_getaffinity(0)), seen())


@pytest.mark.parametrize("busy", [True, False])
def test_threads_spin_shortly_beside_busy_neighbours(
    busy: bool, packages: Callable[[str], Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = packages("gpt2")
    asked: list[int] = []

    def told(threads: int, since: object) -> bool:
        asked.append(threads)
        return busy

    monkeypatch.setattr(session, "contended", told)
    plain = session.load_session(package, ["CPUExecutionProvider"], 2)
    assert not asked, "a small model is not worth a look"
    monkeypatch.setattr(session, "_LARGE_BYTES", 1000)
    found = session.load_session(package, ["CPUExecutionProvider"], 2)
    assert asked == [2]
    asked_for = contextlib.nullcontext() if busy else pytest.raises(RuntimeError, match="spin")
    with asked_for:
        options = found.get_session_options()
        assert options.get_session_config_entry("session.intra_op.spin_duration_us") == "10"
    results = [Generator(package, session=each).generate([[5, 6, 7]]) for each in (plain, found)]
    assert results[0] == results[1]


def test_a_share_of_the_cores_is_as_many_threads(
    packages: Callable[[str], Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "available_cores", lambda: 3)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    found = session.load_session(packages("gpt2"), ["CPUExecutionProvider"])
    assert found.get_session_options().intra_op_num_threads == 3
