"""SmolLM3 (Hugging Face)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class SmolLM3Adapter(DecoderAdapter):
    """SmolLM3 of ``transformers``: some layers without rotary positions."""

    name = "smollm3"
    model_type = "smollm3"
    class_names = ("SmolLM3ForCausalLM", "SmolLM3Model")

    def full_config(self) -> PretrainedConfig:
        """The config of SmolLM3 3B: 36 layers of 2048, 128,256 tokens."""
        from transformers import SmolLM3Config

        return SmolLM3Config(
            vocab_size=128_256,
            hidden_size=2048,
            intermediate_size=11_008,
            num_hidden_layers=36,
            num_attention_heads=16,
            num_key_value_heads=4,
            max_position_embeddings=65_536,
            rope_theta=5_000_000.0,
            tie_word_embeddings=True,
            bos_token_id=128_000,
            eos_token_id=128_012,
            pad_token_id=128_004,
        )

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import SmolLM3Config

        return tiny(SmolLM3Config)
