"""Phi 1, 1.5 and 2 (Microsoft)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class PhiAdapter(DecoderAdapter):
    """Phi of ``transformers``: partial rotary positions, attention beside the MLP."""

    name = "phi"
    model_type = "phi"
    class_names = ("PhiForCausalLM", "PhiModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import PhiConfig

        return tiny(PhiConfig)
