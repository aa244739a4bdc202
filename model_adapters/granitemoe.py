"""Granite 3 MoE (IBM): a mixture of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._experts import stacked_experts

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@register
class GraniteMoeAdapter(DecoderAdapter):
    """GraniteMoE of ``transformers``: Granite's scales, experts in one tensor."""

    name = "granitemoe"
    model_type = "granitemoe"
    class_names = ("GraniteMoeForCausalLM", "GraniteMoeModel")
    implied = {"position_embedding_type": "rope"}
    tiny_sizes = {"num_local_experts": 4}

    def prepare(self, model: PreTrainedModel) -> None:
        """Call all experts at once: HF 4.57 splits tokens by sizes that a trace would freeze."""
        import torch

        def forward(block: Any, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            flat = hidden.reshape(-1, hidden.shape[-1])
            router = block.router.layer(flat)
            best, index = router.topk(block.router.top_k, dim=1)
            weights = torch.softmax(best.float(), dim=1).to(hidden.dtype)
            return block.experts(flat, index, weights).reshape(hidden.shape), router

        for layer in model.base_model.layers:
            block = layer.block_sparse_moe
            if hasattr(block, "input_linear"):
                weights = block.input_linear.weight, block.output_linear.weight
                block.experts = stacked_experts(*weights, block.activation)
                block.forward = forward.__get__(block)
