"""Mistral (Mistral AI)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class MistralAdapter(DecoderAdapter):
    """Mistral of ``transformers``: Llama's layers, a window that all of them keep."""

    name = "mistral"
    model_type = "mistral"
    class_names = ("MistralForCausalLM", "MistralModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import MistralConfig

        return tiny(MistralConfig)
