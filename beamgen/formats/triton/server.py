"""A check by a running ``tritonserver``, where it is installed."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from beamgen.errors import one_line
from beamgen.formats.format import Check
from beamgen.formats.triton.requests import Request

PROGRAM = "tritonserver"

#: How often each request is sent.
_TIMES = 4

_START_SECONDS = 300
_ASK_SECONDS = 300
_TYPES = {"int64": "INT64", "int32": "INT32", "float32": "FP32"}


def check_served(folder: Path, name: str, requests: Sequence[Request]) -> Check:
    """Start a server on the model alone, send all requests at once, compare the answers.

    They are sent several times over, so that some have to wait, and are joined.
    """
    what = f"a running {PROGRAM} answers as the package does"
    program = shutil.which(PROGRAM)
    if program is None:
        return Check(f"{what}: it is not installed", None)
    requests = [*requests] * _TIMES
    try:
        with _serving(program, folder, name) as (url, version):
            model = f"{url}/models/{quote(name)}"
            with ThreadPoolExecutor(len(requests)) as pool:
                answers = list(pool.map(lambda request: _ask(f"{model}/infer", request), requests))
            runs = _runs(model, len(requests))
    except _NotServedError as error:
        return Check(f"{what}: {error}", False)
    for row, (request, answer) in enumerate(zip(requests, answers, strict=True)):
        wrong = request.differs(answer)
        if wrong:
            return Check(f"{what}, {version}: {wrong} of request {row} is another", False)
    return Check(f"{what}, {version}: {len(requests)} requests at once, in {runs} runs", True)


class _NotServedError(Exception):
    """The reason, in one line."""


@contextlib.contextmanager
def _serving(program: str, folder: Path, name: str) -> Iterator[tuple[str, str]]:
    """The server's address and version, while it runs."""
    with tempfile.TemporaryDirectory() as scratch:
        repository = Path(scratch, "models")
        repository.mkdir()
        (repository / name).symlink_to(folder.resolve())
        port = _free_port()
        log = Path(scratch, "log")
        command = [
            *(program, "--model-repository", str(repository)),
            *("--http-address", "127.0.0.1", "--http-port", str(port)),
            *("--allow-grpc", "false", "--allow-metrics", "false", "--exit-timeout-secs", "5"),
        ]
        with log.open("wb") as stream:
            process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}/v2"
            _wait(process, f"{url}/health/ready", log)
            about = _read(urllib.request.Request(url))
            yield url, f"{about['name']} {about['version']}"
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], ready: str, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise _NotServedError(_reason(log.read_text(errors="replace")))
        with contextlib.suppress(OSError), urllib.request.urlopen(ready, timeout=5):
            return
        time.sleep(0.2)
    raise _NotServedError(f"it was not ready after {_START_SECONDS} s")


def _reason(log: str) -> str:
    """The line of a log that gives the reason why a model did not load."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = [line for line in lines if re.match(r"E\d{4} ", line) and "failed to load" in line]
    return one_line(RuntimeError((said or lines or ["it ended without a word"])[-1]))


def _runs(model: str, requests: int) -> int:
    """In how many runs some requests were answered; the server counts a little later."""
    for _ in range(50):
        (counted,) = _read(urllib.request.Request(f"{model}/stats"))["model_stats"]
        if counted["inference_count"] >= requests:
            break
        time.sleep(0.1)
    return int(counted["execution_count"])


def _ask(url: str, request: Request) -> Mapping[str, npt.NDArray[Any]]:
    """One request by HTTP, in JSON."""
    body = {
        "inputs": [
            {
                "name": name,
                "datatype": _TYPES[str(value.dtype)],
                "shape": list(value.shape),
                "data": value.reshape(-1).tolist(),
            }
            for name, value in request.given.items()
        ]
    }
    answer = _read(urllib.request.Request(url, json.dumps(body).encode(), method="POST"))
    return {
        output["name"]: np.array(output["data"]).reshape(output["shape"])
        for output in answer["outputs"]
    }


def _read(request: urllib.request.Request) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(request, timeout=_ASK_SECONDS) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        raise _NotServedError(one_line(RuntimeError(error.read().decode(errors="replace")))) from (
            error
        )
    except (OSError, ValueError) as error:
        raise _NotServedError(one_line(error)) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
