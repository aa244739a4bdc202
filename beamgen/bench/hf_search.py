"""HF's own search over whatever decoder has its ``generate``."""

from __future__ import annotations

from typing import Any

from beamgen.bench.contestant import Search
from beamgen.bench.workload import Task
from beamgen.bench.workspace import Workspace
from beamgen.settings.prompts import Ids


def hf_search(model: Any, task: Task, workspace: Workspace) -> Search:
    """``model.generate`` with this task's beams, and no EOS."""
    import torch
    from transformers import GenerationConfig

    torch.set_num_threads(task.threads)
    model.generation_config = GenerationConfig()

    def search(ids: Ids, new_tokens: int) -> list[list[int]]:
        beams = {"length_penalty": 1.0, "early_stopping": False} if task.num_beams > 1 else {}
        settings = GenerationConfig(
            num_beams=task.num_beams,
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=0,
            decoder_start_token_id=workspace.decoder_start,
            **beams,
        )
        prompt = torch.from_numpy(ids)
        with torch.no_grad():
            output = model.generate(
                prompt, attention_mask=torch.ones_like(prompt), generation_config=settings
            )
        before = 1 if workspace.has_encoder else ids.shape[1]
        rows: list[list[int]] = output[:, before:].tolist()
        return rows

    return search
