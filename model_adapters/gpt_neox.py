"""GPT-NeoX and Pythia (EleutherAI)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class GPTNeoXAdapter(DecoderAdapter):
    """GPT-NeoX of ``transformers``: fused q, k and v, partial rotary positions."""

    name = "gpt_neox"
    model_type = "gpt_neox"
    class_names = ("GPTNeoXForCausalLM", "GPTNeoXModel")
    # Pythia 160M: 12 layers of 768, 50,304 tokens
    full_sizes = {
        "vocab_size": 50_304,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 2048,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
