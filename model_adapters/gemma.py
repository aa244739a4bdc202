"""Gemma (Google)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class GemmaAdapter(DecoderAdapter):
    """Gemma of ``transformers``: scaled embeddings, tied head."""

    name = "gemma"
    model_type = "gemma"
    class_names = ("GemmaForCausalLM", "GemmaModel")
    tiny_sizes = {"head_dim": 16}
    # Gemma 2B: 18 layers of 2048, 256,000 tokens
    full_sizes = {
        "vocab_size": 256_000,
        "hidden_size": 2048,
        "intermediate_size": 16_384,
        "num_hidden_layers": 18,
        "num_attention_heads": 8,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "max_position_embeddings": 8192,
    }
