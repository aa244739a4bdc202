"""Phi-3.5-MoE (Microsoft): a mixture of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter
from beamgen.errors import AdapterError
from beamgen.registry import register
from model_adapters._experts import callable_experts
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


@register
class PhimoeAdapter(DecoderAdapter):
    """PhiMoE of ``transformers``, without LongRoPE: two experts a token; attends by itself."""

    name = "phimoe"
    model_type = "phimoe"
    class_names = ("PhimoeForCausalLM", "PhimoeModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import PhimoeConfig

        return tiny(PhimoeConfig, num_local_experts=4)

    def prepare(self, model: PreTrainedModel) -> None:
        """Call all experts at once: HF leaves out those that the dummy input does not meet.

        Raises:
            AdapterError: the checkpoint scales its rotary positions.
        """
        from transformers.models.phimoe.modeling_phimoe import sparsemixer

        if model.config.rope_scaling:
            raise AdapterError(
                "PhiMoE chooses the factors of its rope_scaling by the length of HF's cache, "
                "which a file has not",
                "only PhiMoE checkpoints without rope_scaling can be exported",
            )

        def forward(block: Any, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            flat = hidden.reshape(-1, hidden.shape[-1])
            router = block.gate(flat)
            weights, index = sparsemixer(
                router, jitter_eps=block.router_jitter_noise, training=False
            )
            return block.experts(flat, index, weights).reshape(hidden.shape), router

        for layer in model.base_model.layers:
            block = layer.block_sparse_moe
            block.experts = callable_experts(block.experts)
            block.forward = forward.__get__(block)
