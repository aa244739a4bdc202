"""One of our files, timed in a process of its own: two thread pools spin against each other."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from beamgen import Generator
from beamgen.bench.random_weights import find_shape, random_checkpoint
from beamgen.bench.workload import Task
from beamgen.runtime.machine import peak_memory


@dataclass(frozen=True)
class Search:
    """What a process searches, all steps of it: no EOS may come.

    Attributes:
        package: folder of the file.
        task: lengths, beams, rows and threads.
        settings: of the search, besides.
        lora: names of slots, for all rows or for each.
    """

    package: Path
    task: Task
    settings: Mapping[str, Any] = field(default_factory=dict)
    lora: str | list[str] | None = None


@dataclass(frozen=True)
class Times:
    """What processes of one search took.

    Attributes:
        seconds: of all timed runs.
        peak_bytes: most memory of a process.
    """

    seconds: tuple[float, ...]
    peak_bytes: int

    def per_step(self, search: Search) -> list[float]:
        """Milliseconds per step of each run."""
        return [1000 * each / search.task.new_tokens for each in self.seconds]

    def cells(self, search: Search) -> tuple[float, str, str]:
        """Median of the milliseconds per step, their range, and megabytes, for a table."""
        each = self.per_step(search)
        span = f"{min(each):.1f}-{max(each):.1f}"
        return statistics.median(each), span, f"{self.peak_bytes / 1e6:.0f}"


def time_in_turns(searches: Mapping[str, Search], turns: int, runs: int) -> dict[str, Times]:
    """Each search in ``turns`` processes, in the one order and then in the other."""
    found: dict[str, list[Times]] = {name: [] for name in searches}
    for turn in range(turns):
        for name in list(searches)[:: -1 if turn % 2 else 1]:
            found[name].append(_time(searches[name], runs))
    return {name: _together(each) for name, each in found.items()}


def random_weights(folder: Path) -> Path:
    """A checkpoint in the smallest of ``beamgen bench``'s shapes, which is GPT-2 small's."""
    return random_checkpoint(find_shape(None), folder)


def _together(times: Sequence[Times]) -> Times:
    seconds = tuple(second for each in times for second in each.seconds)
    return Times(seconds, max(each.peak_bytes for each in times))


def _time(search: Search, runs: int) -> Times:
    request = {**asdict(search), "package": str(search.package), "runs": runs}
    threads = {"OMP_NUM_THREADS": str(search.task.threads), "TRANSFORMERS_VERBOSITY": "error"}
    output = subprocess.run(
        [sys.executable, __file__, json.dumps(request)],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        env={**os.environ, **threads},
    ).stdout
    seconds, peak = json.loads(output.splitlines()[-1])
    return Times(tuple(seconds), peak)


def _answer(request: Mapping[str, Any]) -> tuple[list[float], int]:
    """Seconds of each run after one that warms up, and the process's peak memory."""
    task = Task(**request["task"])
    generator = Generator(request["package"], threads=task.threads, verify=False)
    ids = task.prompt(0, generator.package.manifest.vocab_size)
    own = {"num_beams": task.num_beams, "max_new_tokens": task.new_tokens, "eos_token_id": ()}
    config = generator.search.with_overrides({**own, **request["settings"]})
    seconds = []
    for _ in range(request["runs"] + 1):
        start = time.perf_counter()
        generator.search_ids(ids, np.ones_like(ids), config, lora=request["lora"])
        seconds.append(time.perf_counter() - start)
    return seconds[1:], peak_memory()


if __name__ == "__main__":
    print(json.dumps(_answer(json.loads(sys.argv[1]))))
