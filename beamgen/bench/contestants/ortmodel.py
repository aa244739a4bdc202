"""optimum's ``ORTModelForCausalLM``: HF's search, each step in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

from beamgen.bench.contestant import Contestant, Preparation, Search
from beamgen.bench.hf_search import hf_search
from beamgen.bench.workload import Task
from beamgen.bench.workspace import Workspace


def _prepare(workspace: Workspace, folder: Path) -> None:
    from optimum.onnxruntime import ORTModelForCausalLM

    model = ORTModelForCausalLM.from_pretrained(
        workspace.checkpoint, export=True, trust_remote_code=workspace.trust_remote_code
    )
    model.save_pretrained(folder)


def _load(workspace: Workspace, task: Task) -> Search:
    import onnxruntime
    from optimum.onnxruntime import ORTModelForCausalLM

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    model = ORTModelForCausalLM.from_pretrained(
        workspace.files("ortmodel"),
        session_options=options,
        trust_remote_code=workspace.trust_remote_code,
    )
    # optimum-onnx 0.1.0 knows by a list which models have fewer key/value heads, and some
    # are not on it: their empty cache would not fit the file
    heads = getattr(model.config, "num_key_value_heads", None)
    model.num_key_value_heads = heads or model.num_key_value_heads
    return hf_search(model, task)


PREPARATIONS: dict[str, Preparation] = {"ortmodel": _prepare}
CONTESTANTS = (
    Contestant(
        name="ortmodel",
        load=_load,
        needs=("ortmodel",),
        requires=("optimum-onnx", "onnxruntime", "torch"),
        transformers="4.57",
    ),
)
