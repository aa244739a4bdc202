"""Gemma 3 (Google), the models of text."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class Gemma3Adapter(DecoderAdapter):
    """Gemma 3 of ``transformers``: windows in five of six layers, with their own base."""

    name = "gemma3"
    model_type = "gemma3_text"
    class_names = ("Gemma3ForCausalLM", "Gemma3TextModel")
    tiny_sizes = {"head_dim": 16}
    # Gemma 3 1B: 26 layers of 1152, 262,144 tokens
    full_sizes = {
        "vocab_size": 262_144,
        "hidden_size": 1152,
        "intermediate_size": 6912,
        "num_hidden_layers": 26,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "sliding_window": 512,
        "max_position_embeddings": 32_768,
    }
