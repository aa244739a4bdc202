"""Llama (Meta) 1 to 3, and the many models in its shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class LlamaAdapter(DecoderAdapter):
    """Llama of ``transformers``: grouped queries, rotary positions of every kind."""

    name = "llama"
    model_type = "llama"
    class_names = ("LlamaForCausalLM", "LlamaModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import LlamaConfig

        return tiny(LlamaConfig)
