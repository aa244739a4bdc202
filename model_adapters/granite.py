"""Granite (IBM)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class GraniteAdapter(DecoderAdapter):
    """Granite of ``transformers``: scaled embeddings, attention, residuals and logits."""

    name = "granite"
    model_type = "granite"
    class_names = ("GraniteForCausalLM", "GraniteModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import GraniteConfig

        return tiny(GraniteConfig)
