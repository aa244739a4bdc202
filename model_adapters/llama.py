"""Llama (Meta) 1 to 3, and the many models in its shape."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class LlamaAdapter(DecoderAdapter):
    """Llama of ``transformers``: grouped queries, rotary positions of every kind."""

    name = "llama"
    model_type = "llama"
    class_names = ("LlamaForCausalLM", "LlamaModel")
    # Llama 3.2 1B: 16 layers of 2048, 128,256 tokens
    full_sizes = {
        "vocab_size": 128_256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "rope_theta": 500_000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        "tie_word_embeddings": True,
        "bos_token_id": 128_000,
        "eos_token_id": 128_001,
    }
