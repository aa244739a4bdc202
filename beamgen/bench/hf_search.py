"""HF's own search over whatever decoder has its ``generate``."""

from __future__ import annotations

from typing import Any

from beamgen.bench.contestant import Search
from beamgen.bench.workload import Task
from beamgen.settings.prompts import Ids


def hf_search(model: Any, task: Task) -> Search:
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
            **beams,
        )
        prompt = torch.from_numpy(ids)
        with torch.no_grad():
            output = model.generate(
                prompt, attention_mask=torch.ones_like(prompt), generation_config=settings
            )
        rows: list[list[int]] = output[:, ids.shape[1] :].tolist()
        return rows

    return search
