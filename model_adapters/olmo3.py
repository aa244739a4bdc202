"""OLMo 3 (Ai2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class Olmo3Adapter(DecoderAdapter):
    """OLMo 3 of ``transformers``: windows in three of four layers."""

    name = "olmo3"
    model_type = "olmo3"
    class_names = ("Olmo3ForCausalLM", "Olmo3Model")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import Olmo3Config

        return tiny(Olmo3Config)
