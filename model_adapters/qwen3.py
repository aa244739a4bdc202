"""Qwen3 (Alibaba)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class Qwen3Adapter(DecoderAdapter):
    """Qwen3 of ``transformers``: normalized queries and keys, windows in the upper layers."""

    name = "qwen3"
    model_type = "qwen3"
    class_names = ("Qwen3ForCausalLM", "Qwen3Model")
    tiny_sizes = {"head_dim": 32}
    # Qwen3 0.6B: 28 layers of 1024, 151,936 tokens
    full_sizes = {
        "vocab_size": 151_936,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40_960,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 151_643,
        "eos_token_id": 151_645,
    }
