"""Several processes: the same results, whoever of them is killed."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from support.batches import check_same, one_by_one, read_jsonl, token_rows, write_jsonl

import beamgen
from beamgen import BeamgenError, Generator, Package
from beamgen.batch import processes
from beamgen.batch.reading import rows as reading
from beamgen.errors import BatchError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

SETTINGS: dict[str, Any] = {"max_new_tokens": 12, "num_beams": 4, "eos_token_id": [2]}

#: A job whose shards hold a few rows each; it says how far it is.
JOB = """
import json, sys
import beamgen
from beamgen.batch import collect
from beamgen.batch.reading import rows
rows.WINDOW_ROWS, collect.EVERY = 16, 0.0
package, source, output, settings = sys.argv[1:]
def tell(now):
    print(now.done, flush=True)
beamgen.batch(package, source, output, column="ids", processes=2, batch_size=3, verify=False,
              progress=tell, **json.loads(settings))
"""


@pytest.fixture(scope="module")
def alone(generators: Callable[[str], Generator]) -> tuple[Package, list[dict[str, Any]], Any]:
    """A package, rows, and what a plain loop makes of them."""
    generator = generators("gpt2")
    rows = token_rows(60, generator.package.manifest.vocab_size, seed=8)
    rows[33] = {"id": 33, "ids": []}
    found = one_by_one(generator, [row for row in rows if row["ids"]], "ids", **SETTINGS)
    return generator.package, rows, found


def _check_whole(folder: Path, found: Any) -> None:
    results = read_jsonl(folder / "out" / "results.jsonl")
    assert [row["id"] for row in results] == [*range(33), *range(34, 60)]
    check_same(results, found)
    assert [row["row"] for row in read_jsonl(folder / "out" / "failed.jsonl")] == [34]


def _started(package: Package, rows: list[dict[str, Any]], folder: Path) -> Any:
    source = write_jsonl(folder / "prompts.jsonl", rows)
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(package.folder), str(source), str(folder / "out"),
         json.dumps(SETTINGS)],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def _workers(parent: int) -> list[int]:
    """Process ids of a job's workers."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            of = int(folder.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            command = folder.joinpath("cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if of == parent and b"beamgen.batch.worker" in command:
            found.append(int(folder.name))
    return found


def test_two_processes_give_what_one_gives(alone: Any, tmp_path: Path) -> None:
    package, rows, found = alone
    source = write_jsonl(tmp_path / "prompts.jsonl", rows)
    report = beamgen.batch(package, source, tmp_path / "out", column="ids", processes=2, **SETTINGS)
    assert report.engine == "2 processes of 1 thread"
    _check_whole(tmp_path, found)
    one = beamgen.batch(package, source, tmp_path / "one", column="ids", processes=1, **SETTINGS)
    assert one.results.read_bytes() == report.results.read_bytes()


def _kill_parents(alone: Any, folder: Path, moments: Iterator[int]) -> int:
    """Start a job again and again, and kill it after so many lines; how often it was killed."""
    package, rows, found = alone
    kills = 0
    while True:
        job = _started(package, rows, folder)
        for _ in range(next(moments)):
            if not job.stdout.readline():
                break
        else:
            os.kill(job.pid, signal.SIGKILL)
            kills += 1
        job.stdout.close()
        if (ended := job.wait()) == 0:
            break
        assert ended == -signal.SIGKILL, "nothing else ends a job"
    _check_whole(folder, found)
    return kills


def _kill_workers(alone: Any, folder: Path, moments: Iterator[int]) -> int:
    """Run a job and kill one of its workers after every so many lines."""
    package, rows, found = alone
    job = _started(package, rows, folder)
    kills, wait = 0, next(moments)
    for line, _ in enumerate(job.stdout):
        workers = _workers(job.pid)
        if line >= wait and workers:
            os.kill(workers[line % len(workers)], signal.SIGKILL)
            kills, wait = kills + 1, line + next(moments)
    job.stdout.close()
    assert job.wait() == 0
    _check_whole(folder, found)
    return kills


def test_a_killed_parent_loses_nothing(alone: Any, tmp_path: Path) -> None:
    assert _kill_parents(alone, tmp_path, iter([4, 9, 1000])) == 2


def test_a_killed_worker_loses_nothing(alone: Any, tmp_path: Path) -> None:
    assert _kill_workers(alone, tmp_path, iter([3, 9, 1000])) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kill", [_kill_parents, _kill_workers])
def test_thirty_kills_lose_nothing(kill: Any, alone: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(21)
    kills, run = 0, 0
    while kills < 30:
        folder = tmp_path / str(run)
        folder.mkdir()
        # then it is left alone: a parent that is always killed before it searches never ends
        moments = chain(rng.integers(1, 25 if kill is _kill_parents else 8, size=6), repeat(1000))
        kills += kill(alone, folder, map(int, moments))
        run += 1
        print(f"{kills} kills in {run} jobs", flush=True)


def test_workers_do_not_outlive_the_job(alone: Any, tmp_path: Path) -> None:
    package, rows, _ = alone
    job = _started(package, rows, tmp_path)
    for _ in range(4):
        job.stdout.readline()
    workers = _workers(job.pid)
    assert len(workers) == 2
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    job.stdout.close()
    deadline = time.monotonic() + 20
    while any(_is_alive(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


class _Idle(processes._Worker):
    """A worker without a process, and with nothing to do."""

    def _ready(self) -> Any:
        return None


def test_workers_end_whichever_waits_for_longer() -> None:
    """What tells one of them to end may reach another, which has waited before it."""
    waiting = threading.Event()

    class Tasks(queue.Queue[Any]):
        def get(self, *options: Any) -> Any:
            waiting.set()
            return super().get(*options)

    tasks, job = Tasks(), cast("Any", None)
    workers = [_Idle(job, tasks, queue.Queue()) for _ in range(3)]
    for worker in reversed(workers):
        waiting.clear()
        worker.start()
        assert waiting.wait(10)
    ending = threading.Thread(target=lambda: [each.stop() for each in workers], daemon=True)
    ending.start()
    ending.join(10)
    assert not ending.is_alive()


def _is_alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


#: A worker that dies of a prompt, as for lack of memory; or of any job.
DEADLY = """
import os, signal, sys
from beamgen.batch import search, worker
search_well = search.search
def deadly(generator, batch):
    if any(request.prompt == (5, 5, 5) for request in batch.requests):
        os.kill(os.getpid(), signal.SIGKILL)
    return search_well(generator, batch)
worker.search = deadly
worker.main()
"""


def test_a_row_of_which_processes_die_is_one_bad_row(
    alone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, _, _ = alone
    monkeypatch.setattr(processes, "COMMAND", ["-c", DEADLY])
    rows = [{"id": i, "ids": [5, 5, 5] if i == 2 else [5, 6 + i]} for i in range(6)]
    source = write_jsonl(tmp_path / "prompts.jsonl", rows)
    report = beamgen.batch(package, source, tmp_path / "out", column="ids", processes=2, **SETTINGS)
    assert [row["id"] for row in read_jsonl(report.results)] == [0, 1, 3, 4, 5]
    (failure,) = read_jsonl(report.failed)
    assert failure["row"] == 3
    assert "was killed by SIGKILL, as when memory runs out, 2 times" in failure["reason"]


@pytest.mark.parametrize(
    ("program", "cause"),
    [
        ("import os; os._exit(3)", "ended with exit code 3, 3 times"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
    ],
)
def test_processes_that_do_not_start_end_the_job(
    program: str, cause: str, alone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, rows, _ = alone
    monkeypatch.setattr(processes, "COMMAND", ["-c", program])
    source = write_jsonl(tmp_path / "prompts.jsonl", rows)
    with pytest.raises(BatchError, match=cause):
        beamgen.batch(package, source, tmp_path / "out", column="ids", processes=2, **SETTINGS)


#: Five processes die as they start, and none after them: three of one worker, two of another.
FIVE_DIE = """
import os
from beamgen.batch import worker
for number in range(5):
    try:
        os.mkdir(f"{os.environ['FIVE_DIE']}/{number}")
    except FileExistsError:
        continue
    os._exit(3)
worker.main()
"""


def test_a_worker_that_does_not_start_leaves_the_rest_to_others(
    alone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, rows, found = alone
    monkeypatch.setattr(processes, "COMMAND", ["-c", FIVE_DIE])
    # of many windows: batches come after the worker has given up
    monkeypatch.setattr(reading, "WINDOW_ROWS", 2)
    (tmp_path / "starts").mkdir()
    monkeypatch.setenv("FIVE_DIE", str(tmp_path / "starts"))
    source = write_jsonl(tmp_path / "prompts.jsonl", rows)
    beamgen.batch(package, source, tmp_path / "out", column="ids", processes=2, **SETTINGS)
    assert len([*(tmp_path / "starts").iterdir()]) == 5
    _check_whole(tmp_path, found)


def test_a_package_that_does_not_load_ends_the_job(
    alone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, rows, _ = alone
    source = write_jsonl(tmp_path / "prompts.jsonl", rows)
    with pytest.raises(BeamgenError, match="this ONNX Runtime has no NonsenseProvider"):
        beamgen.batch(
            package,
            source,
            tmp_path / "out",
            column="ids",
            processes=2,
            providers=["NonsenseProvider"],
            **SETTINGS,
        )
