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

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import GemmaConfig

        return tiny(GemmaConfig, head_dim=16)
