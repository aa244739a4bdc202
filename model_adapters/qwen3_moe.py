"""Qwen3-MoE (Alibaba): a mixture of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class Qwen3MoeAdapter(DecoderAdapter):
    """Qwen3-MoE of ``transformers``: all experts stand in the graph."""

    name = "qwen3_moe"
    model_type = "qwen3_moe"
    class_names = ("Qwen3MoeForCausalLM", "Qwen3MoeModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import Qwen3MoeConfig

        return tiny(
            Qwen3MoeConfig,
            moe_intermediate_size=64,
            head_dim=16,
            num_experts=4,
            num_experts_per_tok=2,
        )
