"""SmolLM3 (Hugging Face)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class SmolLM3Adapter(DecoderAdapter):
    """SmolLM3 of ``transformers``: some layers without rotary positions."""

    name = "smollm3"
    model_type = "smollm3"
    class_names = ("SmolLM3ForCausalLM", "SmolLM3Model")
    # SmolLM3 3B: 36 layers of 2048, 128,256 tokens
    full_sizes = {
        "vocab_size": 128_256,
        "hidden_size": 2048,
        "intermediate_size": 11_008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "max_position_embeddings": 65_536,
        "rope_theta": 5_000_000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 128_000,
        "eos_token_id": 128_012,
        "pad_token_id": 128_004,
    }
