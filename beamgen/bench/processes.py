"""Every job in a process of its own: two thread pools would spin against each other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from beamgen.errors import JobError

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_QUIET = {"TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}

_ALONE = "run it alone, with --against NAME"


def run_job(job: str, threads: int, timeout: float, **request: Any) -> dict[str, Any]:
    """What the worker answers.

    Args:
        job: a function of ``beamgen.bench.worker``.
        threads: that every library may use.
        timeout: seconds after which the process is ended.
        request: the function's arguments.

    Raises:
        JobError: it failed, crashed, or took too long.
    """
    # one BLAS thread per reduction: the threads of the bandwidth are the pool's
    blas = 1 if job == "bandwidth" else threads
    own = dict.fromkeys(_THREADS, str(threads)) | {"OPENBLAS_NUM_THREADS": str(blas)}
    with tempfile.TemporaryDirectory(prefix="beamgen-job-") as scratch:
        asked, answer, log = (Path(scratch, name) for name in ("asked", "answer", "log"))
        asked.write_text(json.dumps({"job": job, **request}), encoding="utf-8")
        command = [sys.executable, "-m", "beamgen.bench.worker", str(asked), str(answer)]
        with log.open("wb") as output:
            try:
                code = subprocess.run(
                    command,
                    env={**os.environ, **_QUIET, **own},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=timeout,
                ).returncode
            except subprocess.TimeoutExpired:
                raise JobError(f"gave no answer in {timeout:g} s", "raise --timeout") from None
        # a library that crashes while it shuts down has answered before
        if not answer.exists():
            raise JobError(crash(code, log), _ALONE)
        return checked(json.loads(answer.read_text(encoding="utf-8")))


def checked(answer: dict[str, Any]) -> dict[str, Any]:
    """The worker's answer.

    Raises:
        JobError: it says why there is none.
    """
    if "error" in answer:
        raise JobError(answer["error"], answer.get("cure", _ALONE))
    return answer


def crash(code: int, log: Path) -> str:
    """How a process ended that wrote nothing, and its last word."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = f": {lines[-1].strip():.200}" if lines else ""
    if code >= 0:
        return f"ended with exit code {code}{last}"
    name = signal.Signals(-code).name
    memory = ", as when memory runs out" if name == "SIGKILL" else ""
    return f"killed by {name}{memory}{last}"
