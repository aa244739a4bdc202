"""HF's own search over whatever decoder has its ``generate``."""

from __future__ import annotations

from functools import partial
from typing import Any

from beamgen.bench.contestant import Search
from beamgen.bench.workload import Task
from beamgen.bench.workspace import Workspace


def hf_search(model: Any, task: Task, workspace: Workspace) -> Search:
    """``model.generate`` with this task's beams, and no EOS."""
    import torch
    from transformers import GenerationConfig, GenerationMixin

    torch.set_num_threads(task.threads)
    model.generation_config = GenerationConfig()

    # that of models that hear loops around the search
    generate = (
        model.generate if workspace.features is None else partial(GenerationMixin.generate, model)
    )

    def search(given: Any, new_tokens: int) -> list[list[int]]:
        beams = {"length_penalty": 1.0, "early_stopping": False} if task.num_beams > 1 else {}
        settings = GenerationConfig(
            num_beams=task.num_beams,
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=0,
            decoder_start_token_id=workspace.decoder_prompt[0] if workspace.has_encoder else None,
            **beams,
        )
        prompt, begun = torch.from_numpy(given), len(workspace.decoder_prompt)
        inputs: dict[str, Any] = {}
        if workspace.features is None:
            inputs["attention_mask"] = torch.ones_like(prompt)
        if begun > 1:
            inputs["decoder_input_ids"] = torch.tensor([workspace.decoder_prompt] * len(given))
        with torch.no_grad():
            output = generate(prompt, generation_config=settings, **inputs)
        before = begun or given.shape[1]
        rows: list[list[int]] = output[:, before:].tolist()
        return rows

    return search
