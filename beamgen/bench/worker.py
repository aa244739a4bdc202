"""A job of the bench in its own process: ``python -m beamgen.bench.worker REQUEST ANSWER``.

Both are JSON files. What libraries print goes where the caller sends it.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamgen.bench.discovery import contestants, preparations
from beamgen.bench.workload import Task
from beamgen.bench.workspace import Workspace
from beamgen.errors import BeamgenError, CheckpointError, one_line
from beamgen.runtime.machine import peak_memory
from beamgen.seq2seq_adapter import Seq2SeqAdapter

if TYPE_CHECKING:
    from beamgen.checkpoint.checkpoint import Checkpoint

#: Searches that stop at their first token have prompts of their own, numbered from here.
_ONE_TOKEN_PROMPTS = 1_000_000


def answer_to(request: Mapping[str, Any]) -> dict[str, Any]:
    """What came of a request, or why nothing did: ``error``, and perhaps a ``cure``."""
    arguments = {name: value for name, value in request.items() if name != "job"}
    try:
        return _JOBS[request["job"]](**arguments)
    except BeamgenError as error:
        return {"error": error.cause, "cure": error.cure}
    except Exception as error:  # of whatever library it was
        return {"error": f"{type(error).__name__}: {one_line(error, 160)}"}


def describe(
    folder: str,
    model: str | None,
    shape: str | None,
    trust_remote_code: bool,
    ignore_unread: list[str],
    num_beams: int,
) -> dict[str, Any]:
    """Open the checkpoint, or make one, and note what the bench has to know of it."""
    from beamgen.bench.floor import bytes_read
    from beamgen.bench.random_weights import find_shape, random_checkpoint
    from beamgen.checkpoint.checkpoint import open_checkpoint
    from beamgen.export.encoder import decoder_start

    name = model
    if model is None:
        adapter = find_shape(shape)
        name = f"{adapter.name}'s shape, random weights"
        model = str(random_checkpoint(adapter, Path(folder, "checkpoint")))
    source = open_checkpoint(
        model, trust_remote_code=trust_remote_code, ignore_unread=ignore_unread
    )
    adapter, empty = source.adapter(), source.empty_model()
    start = source_positions = None
    if isinstance(adapter, Seq2SeqAdapter):
        _check_reads_text(adapter, source)
        start = decoder_start(source, {})
        source_positions = adapter.source_positions(source.config)
    limits = adapter.position_limits(source.config)
    own = source.generation_config
    ids = [0, start, own.bos_token_id, own.pad_token_id, own.eos_token_id]
    flat = [i for each in ids for i in (each if isinstance(each, list) else [each])]
    Workspace(
        folder=Path(folder),
        checkpoint=source.folder.resolve(),
        model=str(name),
        trust_remote_code=trust_remote_code,
        ignore_unread=tuple(ignore_unread),
        num_beams=num_beams,
        vocab_size=source.vocab_size,
        special_ids=tuple(sorted({i for i in flat if i is not None})),
        max_positions=limits.recompute_boundary or limits.max_positions,
        source_positions=source_positions,
        decoder_start=start,
        parameters=sum(p.numel() for p in empty.parameters()),
        reading=bytes_read(adapter, empty),
    ).save()
    return {}


def _check_reads_text(adapter: Seq2SeqAdapter, source: Checkpoint) -> None:
    """Refuse an encoder that reads something else than token ids, of which prompts are made.

    Raises:
        CheckpointError: this one does.
    """
    if not any(each.name == "input_ids" for each in adapter.sources(source.config)):
        raise CheckpointError(
            f"the encoder of {source.source} reads no token ids, and bench makes prompts of them",
            "name the checkpoint of a model that reads text",
        )


def prepare(folder: str, name: str) -> dict[str, Any]:
    """Make a contestant's files, complete or not at all."""
    workspace = Workspace.load(Path(folder))
    making = workspace.folder / "making" / name
    shutil.rmtree(making, ignore_errors=True)
    making.parent.mkdir(exist_ok=True)
    start = time.perf_counter()
    preparations()[name](workspace, making)
    making.rename(workspace.files(name))
    return {"seconds": time.perf_counter() - start}


def search(folder: str, contestant: str, task: dict[str, Any], runs: int) -> dict[str, Any]:
    """Load, warm up, and time ``runs`` searches, each after one that stops at its first token."""
    workspace, work = Workspace.load(Path(folder)), Task(**task)

    def prompt(run: int) -> Any:
        return work.prompt(run, workspace.vocab_size, workspace.special_ids)

    start = time.perf_counter()
    generate = contestants()[contestant].load(workspace, work)
    load_seconds = time.perf_counter() - start
    generate(prompt(0), work.new_tokens)
    firsts, seconds, tokens = [], [], []
    for run in range(1, runs + 1):
        firsts.append(_timed(generate, prompt(_ONE_TOKEN_PROMPTS + run), 1)[0])
        taken, found = _timed(generate, prompt(run), work.new_tokens)
        seconds.append(taken)
        tokens.append(found)
    return {
        "load_seconds": load_seconds,
        "first_seconds": firsts,
        "seconds": seconds,
        "tokens": tokens,
        "peak_bytes": peak_memory(),
    }


def _timed(generate: Callable[..., Any], ids: Any, new_tokens: int) -> tuple[float, Any]:
    start = time.perf_counter()
    found = generate(ids, new_tokens)
    return time.perf_counter() - start, found


def bandwidth(readers: int) -> dict[str, Any]:
    """Bytes per second that the machine reads."""
    from beamgen.bench.floor import measure_bandwidth

    return {"bandwidth": measure_bandwidth(readers)}


_JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    job.__name__: job for job in (describe, prepare, search, bandwidth)
}

if __name__ == "__main__":
    request_file, answer_file = map(Path, sys.argv[1:])
    answer = answer_to(json.loads(request_file.read_text(encoding="utf-8")))
    answer_file.write_text(json.dumps(answer), encoding="utf-8")
