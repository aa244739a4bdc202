"""Mistral (Mistral AI)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class MistralAdapter(DecoderAdapter):
    """Mistral of ``transformers``: Llama's layers, a window that all of them keep."""

    name = "mistral"
    model_type = "mistral"
    class_names = ("MistralForCausalLM", "MistralModel")
    # Mistral 7B v0.3: 32 layers of 4096, 32,768 tokens
    full_sizes = {
        "vocab_size": 32_768,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32_768,
        "rope_theta": 1_000_000.0,
        "sliding_window": None,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
