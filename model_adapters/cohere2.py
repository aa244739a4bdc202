"""Command R7B and A (Cohere)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class Cohere2Adapter(DecoderAdapter):
    """Cohere 2 of ``transformers``: windows, and every fourth layer without positions."""

    name = "cohere2"
    model_type = "cohere2"
    class_names = ("Cohere2ForCausalLM", "Cohere2Model")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import Cohere2Config

        return tiny(Cohere2Config)
