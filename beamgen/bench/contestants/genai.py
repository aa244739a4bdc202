"""onnxruntime-genai, over the folder that ``beamgen package genai`` writes."""

from __future__ import annotations

import json
from pathlib import Path

from beamgen.bench.contestant import Contestant, Preparation, Search
from beamgen.bench.workload import Task
from beamgen.bench.workspace import Workspace
from beamgen.settings.prompts import Ids


def _prepare(workspace: Workspace, folder: Path) -> None:
    from beamgen.formats.package_as import package_as
    from beamgen.package.folder import open_package

    package = open_package(workspace.files("beamgen"), verify=False)
    package_as(
        package,
        "genai",
        folder,
        checkpoint=str(workspace.checkpoint),
        trust_remote_code=workspace.trust_remote_code,
    )


def _load(workspace: Workspace, task: Task) -> Search:
    import numpy as np

    from beamgen.formats.genai.run import import_genai

    genai = import_genai()
    config = genai.Config(str(workspace.files("genai")))
    # there has to be an EOS id; a minimum length keeps it away, and no prompt holds it
    model = {
        "eos_token_id": [workspace.special_ids[0]],
        "decoder": {"session_options": {"intra_op_num_threads": task.threads}},
    }
    config.overlay(json.dumps({"model": model}))
    loaded = genai.Model(config)

    def search(ids: Ids, new_tokens: int) -> list[list[int]]:
        params = genai.GeneratorParams(loaded)
        length = ids.shape[1] + new_tokens
        params.set_search_options(
            batch_size=len(ids),
            max_length=length,
            min_length=length,
            num_beams=task.num_beams,
            num_return_sequences=1,
            do_sample=False,
            length_penalty=1.0,
            early_stopping=False,
        )
        generator = genai.Generator(loaded, params)
        generator.append_tokens(ids.astype(np.int32))
        while not generator.is_done():
            generator.generate_next_token()
        return [generator.get_sequence(row).tolist()[ids.shape[1] :] for row in range(len(ids))]

    return search


PREPARATIONS: dict[str, Preparation] = {"genai": _prepare}
CONTESTANTS = (
    Contestant(
        name="genai",
        load=_load,
        needs=("beamgen", "genai"),
        requires=("onnxruntime-genai", "torch", "optimum-onnx"),
    ),
)
