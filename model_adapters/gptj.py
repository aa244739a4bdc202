"""GPT-J (EleutherAI)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class GPTJAdapter(DecoderAdapter):
    """GPT-J of ``transformers``: interleaved, partial rotary positions; attends by itself."""

    name = "gptj"
    model_type = "gptj"
    class_names = ("GPTJForCausalLM", "GPTJModel")
    tiny_sizes = {"n_layer": 2, "n_embd": 64, "n_head": 4, "n_positions": 256, "rotary_dim": 8}
