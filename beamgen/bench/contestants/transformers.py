"""HF ``generate`` in float32, the yardstick."""

from __future__ import annotations

from beamgen.bench.contestant import YARDSTICK, Contestant, Preparation, Search
from beamgen.bench.hf_search import hf_search
from beamgen.bench.workload import Task
from beamgen.bench.workspace import Workspace


def _load(workspace: Workspace, task: Task) -> Search:
    from beamgen.checkpoint.checkpoint import open_checkpoint

    source = open_checkpoint(
        workspace.checkpoint,
        trust_remote_code=workspace.trust_remote_code,
        ignore_unread=workspace.ignore_unread,
    )
    return hf_search(source.load_model(), task, workspace)


PREPARATIONS: dict[str, Preparation] = {}
CONTESTANTS = (
    Contestant(
        name=YARDSTICK,
        load=_load,
        needs=(),
        requires=("torch", "transformers"),
        encoders=True,
        hearing=True,
    ),
)
