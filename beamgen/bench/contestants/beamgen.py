"""beamgen's own files as contestants: from both backends, and quantized."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from beamgen.bench.contestant import Contestant, Preparation, Search
from beamgen.bench.workload import Task
from beamgen.bench.workspace import Workspace


def _export(**options: Any) -> Preparation:
    def prepare(workspace: Workspace, folder: Path) -> None:
        from beamgen.export.export import export

        export(
            workspace.checkpoint,
            folder,
            trust_remote_code=workspace.trust_remote_code,
            ignore_unread=workspace.ignore_unread,
            parity=False,
            settings={
                "num_beams": workspace.num_beams,
                # the contrib operator's is fixed when it is exported
                "eos_token_id": (),
                # nothing is padded, but without an EOS id there has to be one
                "pad_token_id": workspace.special_ids[0],
            },
            **options,
        )

    return prepare


def _load(name: str) -> Callable[[Workspace, Task], Search]:
    def load(workspace: Workspace, task: Task) -> Search:
        import numpy as np

        from beamgen.runtime.generator import Generator
        from beamgen.settings.config import SearchConfig
        from beamgen.settings.sources import AnySource, FeatureBatch, SourceBatch

        generator = Generator(workspace.files(name), threads=task.threads, verify=False)
        # of the checkpoint's own settings none, as transformers is asked for none
        base = SearchConfig((), workspace.special_ids[0], num_beams=task.num_beams)

        def read(given: Any) -> AnySource | None:
            if workspace.features is not None:
                return FeatureBatch(workspace.features.name, given)
            return SourceBatch(given, np.ones_like(given)) if workspace.has_encoder else None

        def search(given: Any, new_tokens: int) -> list[list[int]]:
            config = base.with_overrides({"max_new_tokens": new_tokens})
            source = read(given)
            prompts = (
                np.tile(workspace.decoder_prompt, (len(given), 1))
                if workspace.has_encoder
                else given
            )
            found = generator.search_ids(prompts, np.ones_like(prompts), config, source=source)
            rows: list[list[int]] = found.sequences[:, 0, prompts.shape[1] :].tolist()
            return rows

        return search

    return load


def _contestant(name: str, precision: str = "float32", *, encoders: bool = True) -> Contestant:
    return Contestant(
        name=name,
        load=_load(name),
        needs=(name,),
        requires=("torch", "optimum-onnx"),
        precision=precision,
        ours=True,
        encoders=encoders,
        hearing=encoders,
    )


PREPARATIONS: dict[str, Preparation] = {
    "beamgen": _export(),
    "beamgen-contrib": _export(backend="contrib"),
    "beamgen-w16": _export(precision="w16"),
    "beamgen-int8": _export(precision="int8"),
    "beamgen-int4": _export(precision="int4"),
}
CONTESTANTS = (
    _contestant("beamgen"),
    _contestant("beamgen-contrib", encoders=False),
    _contestant("beamgen-w16", "w16"),
    _contestant("beamgen-int8", "int8"),
    _contestant("beamgen-int4", "int4"),
)
