"""optimum's ``ORTModel``: HF's search, each step in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from beamgen.bench.contestant import Contestant, Preparation, Search
from beamgen.bench.hf_search import hf_search
from beamgen.bench.workload import Task
from beamgen.bench.workspace import Workspace


def _model_class(workspace: Workspace) -> Any:
    from optimum.onnxruntime import ORTModelForCausalLM, ORTModelForSeq2SeqLM

    return ORTModelForSeq2SeqLM if workspace.has_encoder else ORTModelForCausalLM


def _prepare(workspace: Workspace, folder: Path) -> None:
    model = _model_class(workspace).from_pretrained(
        workspace.checkpoint, export=True, trust_remote_code=workspace.trust_remote_code
    )
    model.save_pretrained(folder)


def _load(workspace: Workspace, task: Task) -> Search:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    model = _model_class(workspace).from_pretrained(
        workspace.files("ortmodel"),
        session_options=options,
        trust_remote_code=workspace.trust_remote_code,
    )
    # optimum-onnx 0.1.0 knows by a list which models have fewer key/value heads, and some
    # are not on it: their empty cache would not fit the file
    heads = getattr(model.config, "num_key_value_heads", None)
    if heads and not workspace.has_encoder:
        model.num_key_value_heads = heads
    return hf_search(model, task, workspace)


PREPARATIONS: dict[str, Preparation] = {"ortmodel": _prepare}
CONTESTANTS = (
    Contestant(
        name="ortmodel",
        load=_load,
        needs=("ortmodel",),
        requires=("optimum-onnx", "onnxruntime", "torch"),
        transformers="4.57",
        encoders=True,
    ),
)
