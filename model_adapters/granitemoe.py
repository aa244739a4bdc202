"""Granite 3 MoE (IBM): a mixture of experts."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter, routed
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


@register
class GraniteMoeAdapter(DecoderAdapter):
    """GraniteMoE of ``transformers``: Granite's scales, experts in one tensor."""

    name = "granitemoe"
    model_type = "granitemoe"
    class_names = ("GraniteMoeForCausalLM", "GraniteMoeModel")
    fixed = MappingProxyType({"position_embedding_type": "rope"})

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import GraniteMoeConfig

        return tiny(GraniteMoeConfig, num_local_experts=4)

    def prepare(self, model: PreTrainedModel) -> None:
        """Go through all experts: HF 4.57 splits the tokens by sizes that a trace would freeze."""
        import torch

        def forward(block: Any, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            flat = hidden.reshape(-1, hidden.shape[-1])
            router = block.router.layer(flat)
            best, index = router.topk(block.router.top_k, dim=1)
            weights = torch.softmax(best.float(), dim=1).to(hidden.dtype)

            def expert(number: int, tokens: torch.Tensor) -> torch.Tensor:
                gate, up = (tokens @ block.input_linear.weight[number].T).chunk(2, dim=-1)
                down: torch.Tensor = block.output_linear.weight[number]
                given: torch.Tensor = (block.activation(gate) * up) @ down.T
                return given

            experts = [partial(expert, number) for number in range(block.router.num_experts)]
            return routed(flat, index, weights, experts).reshape(hidden.shape), router

        for layer in model.base_model.layers:
            if hasattr(layer.block_sparse_moe, "input_linear"):
                layer.block_sparse_moe.forward = forward.__get__(layer.block_sparse_moe)
