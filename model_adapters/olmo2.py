"""OLMo 2 (Ai2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class Olmo2Adapter(DecoderAdapter):
    """OLMo 2 of ``transformers``: norms after attention and MLP, of queries and keys."""

    name = "olmo2"
    model_type = "olmo2"
    class_names = ("Olmo2ForCausalLM", "Olmo2Model")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import Olmo2Config

        return tiny(Olmo2Config)
