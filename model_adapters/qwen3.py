"""Qwen3 (Alibaba)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class Qwen3Adapter(DecoderAdapter):
    """Qwen3 of ``transformers``: normalized queries and keys, windows in the upper layers."""

    name = "qwen3"
    model_type = "qwen3"
    class_names = ("Qwen3ForCausalLM", "Qwen3Model")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import Qwen3Config

        return tiny(Qwen3Config, head_dim=32)
