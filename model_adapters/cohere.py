"""Command R (Cohere)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class CohereAdapter(DecoderAdapter):
    """Cohere of ``transformers``: interleaved rotary positions, scaled logits."""

    name = "cohere"
    model_type = "cohere"
    class_names = ("CohereForCausalLM", "CohereModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import CohereConfig

        return tiny(CohereConfig)
