"""Ray Data runs the same job: the same bytes, whichever of its processes is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.batches import read_jsonl, token_rows, write_jsonl

import beamgen
from beamgen import Generator, Package
from beamgen.errors import BatchError

#: Ray warns of itself, of what it deprecates and of what it leaves open.
pytestmark = pytest.mark.filterwarnings("ignore")

SETTINGS: dict[str, Any] = {"max_new_tokens": 12, "num_beams": 4, "eos_token_id": [2]}

#: A job on a cluster of its own, with small windows; it says how far it is.
JOB = """
import json, sys
import beamgen
from beamgen.batch import collect
from beamgen.batch.reading import rows
rows.WINDOW_ROWS, collect.EVERY = 16, 0.0
package, source, output, settings = sys.argv[1:]
def tell(now):
    print(now.done, flush=True)
beamgen.batch(package, source, output, column="ids", engine="ray", actors=2, batch_size=3,
              verify=False, progress=tell, **json.loads(settings))
"""


ray = pytest.importorskip("ray", reason="ray is not installed")


@pytest.fixture(scope="module")
def job(
    generators: Callable[[str], Generator], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Package, Path, bytes, bytes]:
    """A package, prompts, and what one process here makes of them."""
    package = generators("gpt2").package
    folder = tmp_path_factory.mktemp("job")
    rows = token_rows(60, package.manifest.vocab_size, seed=8)
    rows[33] = {"id": 33, "ids": []}
    source = write_jsonl(folder / "prompts.jsonl", rows)
    report = beamgen.batch(
        package, source, folder / "out", column="ids", processes=1, batch_size=3, **SETTINGS
    )
    return package, source, report.results.read_bytes(), report.failed.read_bytes()


def _started(job: Any, output: Path) -> Any:
    package, source, *_ = job
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(package.folder), str(source), str(output),
         json.dumps(SETTINGS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "RAY_gcs_rpc_server_reconnect_timeout_s": "3"},
    )  # fmt: skip


def _check_same(output: Path, job: Any) -> None:
    """The answers of windows of another size are packed otherwise: equal but for rounding."""
    expected = [json.loads(line) for line in job[2].splitlines()]
    found = read_jsonl(output / "results.jsonl")
    assert [row["row"] for row in found] == [row["row"] for row in expected]
    for row, own in zip(found, expected, strict=True):
        tokens = [hypothesis["token_ids"] for hypothesis in row["hypotheses"]]
        assert tokens == [hypothesis["token_ids"] for hypothesis in own["hypotheses"]]
    assert (output / "failed.jsonl").read_bytes() == job[3]


def _of_ray(words: bytes, parent: int) -> list[int]:
    """Process ids below the job's whose command has some words."""
    parents, commands = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = folder.joinpath("stat").read_text().rpartition(")")[2].split()
            commands[int(folder.name)] = folder.joinpath("cmdline").read_bytes()
        except OSError:
            continue
        parents[int(folder.name)] = int(stat[1])

    def is_below(process: int) -> bool:
        while process in parents and process != parent:
            process = parents[process]
        return process == parent

    return sorted(n for n, command in commands.items() if words in command and is_below(n))


def test_ray_gives_the_same_bytes(job: Any, tmp_path: Path) -> None:
    package, source, results, failures = job
    report = beamgen.batch(
        package,
        source,
        tmp_path / "out",
        column="ids",
        engine="ray",
        actors=2,
        cpus_per_actor=0.5,
        batch_size=3,
        **SETTINGS,
    )
    assert report.engine == "Ray on this machine, 2 actors of 0.5 CPUs"
    assert report.results.read_bytes() == results
    assert report.failed.read_bytes() == failures
    assert not ray.is_initialized()


def test_a_cluster_that_is_not_there(job: Any, tmp_path: Path) -> None:
    package, source, *_ = job
    with pytest.raises(BatchError, match=r"Ray does not start or join 127\.0\.0\.1:1"):
        beamgen.batch(
            package, source, tmp_path / "out", column="ids", engine="ray",
            ray_address="127.0.0.1:1", **SETTINGS,
        )  # fmt: skip


def _kill_actors(job: Any, output: Path, moments: Iterator[int]) -> int:
    """Run a job, and kill one of its actors now and then."""
    running = _started(job, output)
    kills, wait = 0, next(moments)
    for line, _ in enumerate(running.stdout):
        actors = _of_ray(b"MapWorker", running.pid)
        if line >= wait and actors:
            os.kill(actors[line % len(actors)], signal.SIGKILL)
            kills, wait = kills + 1, line + next(moments)
    running.stdout.close()
    assert running.wait() == 0
    _check_same(output, job)
    return kills


def _kill_heads(job: Any, output: Path, moments: Iterator[int]) -> int:
    """Start a job until it ends, and kill its head after so many lines."""
    kills = starts = 0
    while True:
        running = _started(job, output)
        starts += 1
        for _ in range(next(moments)):
            if not running.stdout.readline():
                break
        else:
            heads = _of_ray(b"gcs_server", running.pid)
            if heads:
                os.kill(heads[0], signal.SIGKILL)
                kills += 1
        for _ in running.stdout:
            pass
        running.stdout.close()
        if running.wait() == 0:
            break
        assert starts < kills + 4, "jobs whose head lives end well, if Ray starts"
    _check_same(output, job)
    return kills


@pytest.mark.parametrize("kill", [_kill_actors, _kill_heads])
def test_a_kill_loses_nothing(kill: Any, job: Any, tmp_path: Path) -> None:
    assert kill(job, tmp_path / "out", iter([5, 1000, 1000])) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kill", [_kill_actors, _kill_heads])
def test_thirty_kills_lose_nothing(kill: Any, job: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(22)
    kills, run = 0, 0
    while kills < 30:
        moments = chain(rng.integers(1, 12 if kill is _kill_heads else 8, size=6), repeat(1000))
        kills += kill(job, tmp_path / str(run), map(int, moments))
        run += 1
        print(f"{kills} kills in {run} jobs", flush=True)
