"""Qwen2 and Qwen2.5 (Alibaba)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class Qwen2Adapter(DecoderAdapter):
    """Qwen2 of ``transformers``: biases in q, k and v, windows in the upper layers."""

    name = "qwen2"
    model_type = "qwen2"
    class_names = ("Qwen2ForCausalLM", "Qwen2Model")
    # Qwen2.5 0.5B: 24 layers of 896, 151,936 tokens
    full_sizes = {
        "vocab_size": 151_936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32_768,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 151_643,
        "eos_token_id": 151_643,
    }
