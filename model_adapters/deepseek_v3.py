"""DeepSeek-V3 and R1: a mixture of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter, KVGeometry
from beamgen.registry import register
from model_adapters._experts import callable_experts

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


@register
class DeepseekV3Adapter(DecoderAdapter):
    """DeepSeek-V3 of ``transformers``: latent attention (MLA), with narrow values."""

    name = "deepseek_v3"
    model_type = "deepseek_v3"
    class_names = ("DeepseekV3ForCausalLM", "DeepseekV3Model")
    tiny_sizes = {
        "num_key_value_heads": 4,
        "moe_intermediate_size": 32,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "q_lora_rank": 32,
        "kv_lora_rank": 32,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 16,
    }

    def kv_geometry(self, config: PretrainedConfig) -> KVGeometry:
        """Keys and values of every head; of transformers 5 on, what they are expanded from."""
        from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention

        layers, heads = config.num_hidden_layers, config.num_attention_heads
        if hasattr(DeepseekV3Attention, "expand_kv"):
            return KVGeometry(layers, 1, config.kv_lora_rank, config.qk_rope_head_dim)
        return KVGeometry(layers, heads, config.qk_head_dim, config.v_head_dim)

    def prepare(self, model: PreTrainedModel) -> None:
        """Call all experts at once: HF 4.57 leaves out those that the dummy input does not meet."""

        def moe(
            block: Any, hidden: torch.Tensor, index: torch.Tensor, weights: torch.Tensor
        ) -> torch.Tensor:
            found: torch.Tensor = block.experts(hidden, index, weights)
            return found

        for layer in model.base_model.layers:
            if hasattr(layer.mlp, "moe"):
                layer.mlp.experts = callable_experts(layer.mlp.experts)
                layer.mlp.moe = moe.__get__(layer.mlp)
