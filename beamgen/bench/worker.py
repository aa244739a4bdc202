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
from beamgen.bench.workspace import Features, Workspace
from beamgen.errors import BeamgenError, CheckpointError, one_line
from beamgen.runtime.machine import peak_memory
from beamgen.seq2seq_adapter import Seq2SeqAdapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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

    name = model
    if model is None:
        adapter = find_shape(shape)
        name = f"{adapter.name}'s shape, random weights"
        model = str(random_checkpoint(adapter, Path(folder, "checkpoint")))
    source = open_checkpoint(
        model, trust_remote_code=trust_remote_code, ignore_unread=ignore_unread
    )
    adapter, empty = source.adapter(), source.empty_model()
    decoder_prompt: tuple[int, ...] = ()
    source_positions = features = None
    if isinstance(adapter, Seq2SeqAdapter):
        features = _features(adapter, source, empty)
        decoder_prompt = _decoder_prompt(source, hears=features is not None)
        source_positions = adapter.source_positions(source.config)
    limits = adapter.position_limits(source.config)
    own = source.generation_config
    ids = [0, *decoder_prompt, own.bos_token_id, own.pad_token_id, own.eos_token_id]
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
        decoder_prompt=decoder_prompt,
        features=features,
        parameters=sum(p.numel() for p in empty.parameters()),
        reading=bytes_read(adapter, empty),
    ).save()
    return {}


def _features(
    adapter: Seq2SeqAdapter, source: Checkpoint, empty: PreTrainedModel
) -> Features | None:
    """What an encoder reads that reads no token ids, which is of one size; None if it does.

    Raises:
        CheckpointError: bench cannot make it.
    """
    import torch

    sources = adapter.sources(source.config)
    if any(each.name == "input_ids" for each in sources):
        return None
    first, *others = sources
    shape = tuple(axis for axis in first.axes[1:] if isinstance(axis, int))
    if others or first.integer or len(shape) != len(first.axes) - 1:
        raise CheckpointError(
            f"the encoder of {source.source} reads neither token ids nor one array of one size, "
            "of which bench makes prompts",
            "name the checkpoint of a model that reads text or speech",
        )
    with torch.no_grad():
        read = empty.get_encoder()(torch.empty((1, *shape), device="meta"))
    return Features(first.name, shape, read.last_hidden_state.shape[1])


def _decoder_prompt(source: Checkpoint, *, hears: bool) -> tuple[int, ...]:
    """The start; where sound is read, the last token, too.

    CTranslate2 writes times, which random weights know nothing of, unless the prompt ends with the
    token ``<|notimestamps|>``: the last one, so that behind it there are no times.
    """
    from beamgen.export.encoder import decoder_start

    start = decoder_start(source, {})
    return (start, source.vocab_size - 1) if hears else (start,)


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

    start = time.perf_counter()
    generate = contestants()[contestant].load(workspace, work)
    load_seconds = time.perf_counter() - start
    generate(workspace.prompt(work, 0), work.new_tokens)
    firsts, seconds, tokens = [], [], []
    for run in range(1, runs + 1):
        firsts.append(_timed(generate, workspace.prompt(work, _ONE_TOKEN_PROMPTS + run), 1)[0])
        taken, found = _timed(generate, workspace.prompt(work, run), work.new_tokens)
        seconds.append(taken)
        tokens.append(found)
    return {
        "load_seconds": load_seconds,
        "first_seconds": firsts,
        "seconds": seconds,
        "tokens": tokens,
        "peak_bytes": peak_memory(),
    }


def _timed(generate: Callable[..., Any], prompt: Any, new_tokens: int) -> tuple[float, Any]:
    start = time.perf_counter()
    found = generate(prompt, new_tokens)
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
