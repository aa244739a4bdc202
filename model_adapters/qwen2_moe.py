"""Qwen1.5-MoE and Qwen2-MoE (Alibaba): mixtures of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._experts import route_by_softmax

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@register
class Qwen2MoeAdapter(DecoderAdapter):
    """Qwen2-MoE of ``transformers``: a shared expert beside those that are chosen."""

    name = "qwen2_moe"
    model_type = "qwen2_moe"
    class_names = ("Qwen2MoeForCausalLM", "Qwen2MoeModel")
    tiny_sizes = {
        "moe_intermediate_size": 64,
        "shared_expert_intermediate_size": 64,
        "num_experts": 4,
        "num_experts_per_tok": 2,
    }

    def prepare(self, model: PreTrainedModel) -> None:
        """Let each layer call its experts at once."""
        route_by_softmax(model)
