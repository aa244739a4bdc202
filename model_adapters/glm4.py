"""GLM-4 (Zhipu)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class Glm4Adapter(DecoderAdapter):
    """GLM-4 of ``transformers``: partial, interleaved rotary positions, four norms a layer."""

    name = "glm4"
    model_type = "glm4"
    class_names = ("Glm4ForCausalLM", "Glm4Model")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import Glm4Config

        return tiny(Glm4Config, head_dim=16)
