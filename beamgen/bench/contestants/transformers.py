"""HF ``generate`` in float32, the yardstick."""

from __future__ import annotations

from beamgen.bench.contestants import YARDSTICK, Contestant, Preparation, Search
from beamgen.bench.contestants._hf_search import hf_search
from beamgen.bench.workload import Task
from beamgen.bench.workspace import Workspace


def _load(workspace: Workspace, task: Task) -> Search:
    from beamgen.checkpoint.checkpoint import open_checkpoint

    source = open_checkpoint(workspace.checkpoint, trust_remote_code=workspace.trust_remote_code)
    return hf_search(source.load_model(), task)


PREPARATIONS: dict[str, Preparation] = {}
CONTESTANTS = (Contestant(YARDSTICK, _load, (), ("torch", "transformers")),)
