"""OLMoE (Ai2): a mixture of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class OlmoeAdapter(DecoderAdapter):
    """OLMoE of ``transformers``: normalized queries and keys; attends by itself."""

    name = "olmoe"
    model_type = "olmoe"
    class_names = ("OlmoeForCausalLM", "OlmoeModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import OlmoeConfig

        return tiny(OlmoeConfig, num_experts=4, num_experts_per_tok=2)
