"""Gemma 3 (Google), the models of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class Gemma3Adapter(DecoderAdapter):
    """Gemma 3 of ``transformers``: windows in five of six layers, with their own base."""

    name = "gemma3"
    model_type = "gemma3_text"
    class_names = ("Gemma3ForCausalLM", "Gemma3TextModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import Gemma3TextConfig

        return tiny(Gemma3TextConfig, head_dim=16)
