"""StableLM (Stability AI)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class StableLmAdapter(DecoderAdapter):
    """StableLM of ``transformers``: partial rotary positions; attends by itself."""

    name = "stablelm"
    model_type = "stablelm"
    class_names = ("StableLmForCausalLM", "StableLmModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import StableLmConfig

        return tiny(StableLmConfig)
