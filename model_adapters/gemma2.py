"""Gemma 2 (Google)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class Gemma2Adapter(DecoderAdapter):
    """Gemma 2 of ``transformers``: soft caps, windows in every other layer.

    Its default attention (sdpa) forgets the cap of the scores; ``eager`` is what is meant.
    """

    name = "gemma2"
    model_type = "gemma2"
    class_names = ("Gemma2ForCausalLM", "Gemma2Model")
    tiny_sizes = {"head_dim": 16, "query_pre_attn_scalar": 16}
    # Gemma 2 2B: 26 layers of 2304, 256,000 tokens
    full_sizes = {
        "vocab_size": 256_000,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 8192,
    }
