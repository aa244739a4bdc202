"""The checkpoint of a bench is opened, or made, and noted in its folder."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from beamgen.bench.processes import run_job
from beamgen.bench.request import BenchRequest
from beamgen.bench.workspace import Workspace
from beamgen.errors import SettingError

_REQUEST = "bench-request.json"


@contextlib.contextmanager
def bench_folder(workdir: Path | None) -> Iterator[Path]:
    """The folder that the files are made in: the one asked for, or a temporary one."""
    if workdir is not None:
        workdir.mkdir(parents=True, exist_ok=True)
        yield workdir
        return
    with tempfile.TemporaryDirectory(prefix="beamgen-bench-") as scratch:
        yield Path(scratch)


def open_workspace(folder: Path, request: BenchRequest) -> Workspace:
    """The workspace of the model asked for, long enough for every workload.

    Raises:
        SettingError: the folder holds something else, or the model is too short.
        JobError: the checkpoint cannot be used.
    """
    workspace = _load_or_describe(folder, request)
    for work in request.workloads:
        heard = workspace.features
        if heard is not None and work.prompt_tokens != heard.positions:
            raise SettingError(
                f"the encoder of {workspace.model} makes {heard.positions} positions of all it "
                f"reads, and the workload is {work}",
                f"write {heard.positions}+{work.new_tokens}",
            )
        if workspace.is_too_short_for(work):
            read = workspace.source_positions if workspace.has_encoder else None
            sides = f" ({read} of its encoder)" if read else ""
            raise SettingError(
                f"{work} tokens are more than the {workspace.max_positions} positions{sides} of "
                f"{workspace.model}",
                "choose a smaller workload",
            )
    return workspace


def _load_or_describe(folder: Path, request: BenchRequest) -> Workspace:
    """The workspace that is there already, if it is of the same model, or else a new one."""
    about = {
        "model": request.model,
        "shape": request.shape,
        "trust_remote_code": request.trust_remote_code,
        "ignore_unread": list(request.ignore_unread),
        "num_beams": request.conditions.num_beams,
    }
    noted = folder / _REQUEST
    if noted.exists():
        if json.loads(noted.read_text(encoding="utf-8")) != about:
            raise SettingError(
                f"{folder} holds the files of another model, or for other beams",
                "name another --workdir, or remove this one",
            )
        with contextlib.suppress(OSError, ValueError, TypeError):
            return Workspace.load(folder)
    elif any(folder.iterdir()):
        raise SettingError(f"{folder} holds something else", "name a new folder as --workdir")
    run_job("describe", request.conditions, folder=str(folder), **about)
    noted.write_text(json.dumps(about) + "\n", encoding="utf-8")
    return Workspace.load(folder)
