"""EXAONE 4 (LG)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class Exaone4Adapter(DecoderAdapter):
    """EXAONE 4 of ``transformers``: windows, and every fourth layer without positions."""

    name = "exaone4"
    model_type = "exaone4"
    class_names = ("Exaone4ForCausalLM", "Exaone4Model")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import Exaone4Config

        return tiny(Exaone4Config)
