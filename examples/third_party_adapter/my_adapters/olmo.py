"""Olmo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen import DecoderAdapter, register

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class OlmoAdapter(DecoderAdapter):
    """Olmo of ``transformers``."""

    name = "olmo"
    model_type = "olmo"
    class_names = ("OlmoForCausalLM", "OlmoModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens, for the conformance suite."""
        from transformers import OlmoConfig

        return OlmoConfig(
            num_hidden_layers=2,
            hidden_size=64,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=128,
            vocab_size=96,
            max_position_embeddings=256,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
