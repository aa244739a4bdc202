"""SmolLM3 (Hugging Face)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class SmolLM3Adapter(DecoderAdapter):
    """SmolLM3 of ``transformers``: some layers without rotary positions."""

    name = "smollm3"
    model_type = "smollm3"
    class_names = ("SmolLM3ForCausalLM", "SmolLM3Model")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import SmolLM3Config

        return tiny(SmolLM3Config)
