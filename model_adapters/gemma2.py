"""Gemma 2 (Google)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class Gemma2Adapter(DecoderAdapter):
    """Gemma 2 of ``transformers``: soft caps, windows in every other layer.

    Its default attention (sdpa) forgets the cap of the scores; ``eager`` is what is meant.
    """

    name = "gemma2"
    model_type = "gemma2"
    class_names = ("Gemma2ForCausalLM", "Gemma2Model")

    def full_config(self) -> PretrainedConfig:
        """The config of Gemma 2 2B: 26 layers of 2304, 256,000 tokens."""
        from transformers import Gemma2Config

        return Gemma2Config(
            vocab_size=256_000,
            hidden_size=2304,
            intermediate_size=9216,
            num_hidden_layers=26,
            num_attention_heads=8,
            num_key_value_heads=4,
            head_dim=256,
            max_position_embeddings=8192,
        )

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import Gemma2Config

        return tiny(Gemma2Config, head_dim=16, query_pre_attn_scalar=16)
