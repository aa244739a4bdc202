"""StarCoder2 (BigCode)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class Starcoder2Adapter(DecoderAdapter):
    """StarCoder2 of ``transformers``: biases, a window that all layers keep."""

    name = "starcoder2"
    model_type = "starcoder2"
    class_names = ("Starcoder2ForCausalLM", "Starcoder2Model")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import Starcoder2Config

        return tiny(Starcoder2Config)
