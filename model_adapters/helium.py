"""Helium (Kyutai)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class HeliumAdapter(DecoderAdapter):
    """Helium of ``transformers``: interleaved rotary positions."""

    name = "helium"
    model_type = "helium"
    class_names = ("HeliumForCausalLM", "HeliumModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import HeliumConfig

        return tiny(HeliumConfig, head_dim=16)
