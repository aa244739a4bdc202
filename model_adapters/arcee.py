"""AFM (Arcee)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class ArceeAdapter(DecoderAdapter):
    """Arcee of ``transformers``: Llama's layers with a squared ReLU."""

    name = "arcee"
    model_type = "arcee"
    class_names = ("ArceeForCausalLM", "ArceeModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import ArceeConfig

        return tiny(ArceeConfig, head_dim=16)
