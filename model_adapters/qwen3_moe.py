"""Qwen3-MoE (Alibaba): a mixture of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._experts import route_by_softmax

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@register
class Qwen3MoeAdapter(DecoderAdapter):
    """Qwen3-MoE of ``transformers``: all experts stand in the graph."""

    name = "qwen3_moe"
    model_type = "qwen3_moe"
    class_names = ("Qwen3MoeForCausalLM", "Qwen3MoeModel")
    tiny_sizes = {
        "moe_intermediate_size": 64,
        "head_dim": 16,
        "num_experts": 4,
        "num_experts_per_tok": 2,
    }
    # Qwen3 30B-A3B: 48 layers of 128 experts, of which a token meets 8
    full_sizes = {
        "vocab_size": 151_936,
        "hidden_size": 2048,
        "moe_intermediate_size": 768,
        "num_hidden_layers": 48,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "norm_topk_prob": True,
        "max_position_embeddings": 40_960,
        "rope_theta": 1_000_000.0,
        "bos_token_id": 151_643,
        "eos_token_id": 151_645,
    }

    def prepare(self, model: PreTrainedModel) -> None:
        """Let each layer call its experts at once."""
        route_by_softmax(model)
