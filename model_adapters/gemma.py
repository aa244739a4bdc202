"""Gemma (Google)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class GemmaAdapter(DecoderAdapter):
    """Gemma of ``transformers``: scaled embeddings, tied head."""

    name = "gemma"
    model_type = "gemma"
    class_names = ("GemmaForCausalLM", "GemmaModel")

    def full_config(self) -> PretrainedConfig:
        """The config of Gemma 2B: 18 layers of 2048, 256,000 tokens."""
        from transformers import GemmaConfig

        return GemmaConfig(
            vocab_size=256_000,
            hidden_size=2048,
            intermediate_size=16_384,
            num_hidden_layers=18,
            num_attention_heads=8,
            num_key_value_heads=1,
            head_dim=256,
            max_position_embeddings=8192,
        )

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import GemmaConfig

        return tiny(GemmaConfig, head_dim=16)
