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

    def full_config(self) -> PretrainedConfig:
        """The config of Phi 1.5: 24 layers of 2048, 51,200 tokens."""
        from transformers import PhiConfig

        return PhiConfig(bos_token_id=50_256, eos_token_id=50_256)

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import PhiConfig

        return tiny(PhiConfig)
