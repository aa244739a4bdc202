"""Qwen2 and Qwen2.5 (Alibaba)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class Qwen2Adapter(DecoderAdapter):
    """Qwen2 of ``transformers``: biases in q, k and v, windows in the upper layers."""

    name = "qwen2"
    model_type = "qwen2"
    class_names = ("Qwen2ForCausalLM", "Qwen2Model")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import Qwen2Config

        return tiny(Qwen2Config)
