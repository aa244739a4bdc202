"""Phi-3.5-MoE (Microsoft): a mixture of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter, PositionLimits
from beamgen.errors import AdapterError
from beamgen.registry import register
from model_adapters._experts import callable_experts
from model_adapters._longrope import recomputed

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


@register
class PhimoeAdapter(DecoderAdapter):
    """PhiMoE of ``transformers``: two experts a token, LongRoPE; attends by itself."""

    name = "phimoe"
    model_type = "phimoe"
    class_names = ("PhimoeForCausalLM", "PhimoeModel")
    tiny_sizes = {"num_local_experts": 4}

    def position_limits(self, config: PretrainedConfig) -> PositionLimits:
        """The limits, with the length at which LongRoPE switches factors."""
        return recomputed(super().position_limits(config), config)

    def prepare(self, model: PreTrainedModel) -> None:
        """Call all experts at once: HF 4.57 leaves out those that the dummy input does not meet.

        Raises:
            AdapterError: the checkpoint scales its rotary positions otherwise than by LongRoPE.
        """
        from transformers.models.phimoe.modeling_phimoe import sparsemixer

        scaling = model.config.rope_scaling or {}
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        if kind not in ("default", "longrope"):
            raise AdapterError(
                f"PhiMoE scales its rotary positions by longrope, the checkpoint by {kind}",
                "correct rope_scaling in its config.json",
            )

        short = not hasattr(model.base_model.rotary_emb, "short_mscale")
        if kind == "longrope" and short:  # of transformers 5, which forgets the long ones
            raise AdapterError(
                "transformers 5 computes PhiMoE's LongRoPE with its short factors at every length, "
                "which the model was not trained with",
                "export it in an environment with transformers 4.57",
            )

        def forward(block: Any, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            flat = hidden.reshape(-1, hidden.shape[-1])
            router = block.gate(flat)
            weights, index = sparsemixer(
                router, jitter_eps=block.router_jitter_noise, training=False
            )
            return block.experts(flat, index, weights).reshape(hidden.shape), router

        for layer in model.base_model.layers:
            if hasattr(layer, "block_sparse_moe"):
                block = layer.block_sparse_moe
                block.experts = callable_experts(block.experts)
                block.forward = forward.__get__(block)
