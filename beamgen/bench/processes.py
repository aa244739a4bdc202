"""Every job in a process of its own: two thread pools would spin against each other."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beamgen.bench.workload import Conditions
from beamgen.errors import JobError

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_QUIET = {"TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}

_CURE = "run it alone, with --against NAME"


def run_job(job: str, conditions: Conditions, **arguments: Any) -> dict[str, Any]:
    """Run a job in a process of its own, and give what it answers.

    Args:
        job: a function of ``beamgen.bench.worker``.
        conditions: how many threads each library may use, and for how many seconds.
        arguments: the function's.

    Raises:
        JobError: it failed, crashed, or took too long.
    """
    # one BLAS thread per reduction: the threads of the bandwidth are the pool's
    blas = 1 if job == "bandwidth" else conditions.threads
    own = dict.fromkeys(_THREADS, str(conditions.threads)) | {"OPENBLAS_NUM_THREADS": str(blas)}
    with tempfile.TemporaryDirectory(prefix="beamgen-job-") as scratch:
        request, answer, log = (Path(scratch, name) for name in ("request", "answer", "log"))
        request.write_text(json.dumps({"job": job, **arguments}), encoding="utf-8")
        command = [sys.executable, "-m", "beamgen.bench.worker", str(request), str(answer)]
        with log.open("wb") as output:
            try:
                code = subprocess.run(
                    command,
                    env={**os.environ, **_QUIET, **own},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=conditions.timeout,
                ).returncode
            except subprocess.TimeoutExpired:
                cause = f"gave no answer in {conditions.timeout:g} s"
                raise JobError(cause, "raise --timeout") from None
        # a library that crashes while it shuts down has answered before
        if not answer.exists():
            raise JobError(describe_crash(code, log), _CURE)
        return check_answer(json.loads(answer.read_text(encoding="utf-8")))


@contextlib.contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Other processes that each keep a core busy."""
    command = [sys.executable, "-c", "while True: pass"]
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.DEVNULL))
            stack.callback(process.kill)
        yield


def check_answer(answer: dict[str, Any]) -> dict[str, Any]:
    """A worker's answer, unless it is an error.

    Raises:
        JobError: it is one.
    """
    if "error" in answer:
        raise JobError(answer["error"], answer.get("cure", _CURE))
    return answer


def describe_crash(code: int, log: Path) -> str:
    """How a process ended that wrote nothing, and its last word."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = f": {lines[-1].strip():.200}" if lines else ""
    if code >= 0:
        return f"ended with exit code {code}{last}"
    name = signal.Signals(-code).name
    memory = ", as when memory runs out" if name == "SIGKILL" else ""
    return f"killed by {name}{memory}{last}"
