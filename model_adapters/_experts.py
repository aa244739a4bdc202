"""Mixtures of experts in a form that a trace can hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from beamgen.adapter import routed

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def callable_experts(experts: torch.nn.ModuleList) -> torch.nn.ModuleList:
    """The same list, which is called as transformers 5 calls a layer's experts.

    What is called so may be exported as one loop over all of them.
    """
    import torch

    class Experts(torch.nn.ModuleList):
        def forward(
            self,
            hidden_states: torch.Tensor,
            top_k_index: torch.Tensor,
            top_k_weights: torch.Tensor,
        ) -> torch.Tensor:
            return routed(hidden_states, top_k_index, top_k_weights, self)

    return Experts(experts)


def stacked_experts(gate_up: torch.Tensor, down: torch.Tensor, activation: Any) -> torch.nn.Module:
    """Experts in two tensors, ``[E, 2 * I, hidden]`` and ``[E, hidden, I]``, called likewise."""
    import torch

    class Experts(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate_up_proj, self.down_proj = gate_up, down

        def forward(
            self,
            hidden_states: torch.Tensor,
            top_k_index: torch.Tensor,
            top_k_weights: torch.Tensor,
        ) -> torch.Tensor:
            def expert(number: int) -> Callable[[torch.Tensor], torch.Tensor]:
                def compute(tokens: torch.Tensor) -> torch.Tensor:
                    gate, up = (tokens @ self.gate_up_proj[number].T).chunk(2, dim=-1)
                    given: torch.Tensor = (activation(gate) * up) @ self.down_proj[number].T
                    return given

                return compute

            experts = map(expert, range(len(self.gate_up_proj)))
            return routed(hidden_states, top_k_index, top_k_weights, experts)

    return Experts()


def route_by_softmax(model: PreTrainedModel) -> None:
    """Let the mixtures of transformers 4.57 that route by softmax call their experts at once.

    Those of transformers 5 do so by themselves.

    Source: ``Qwen2MoeSparseMoeBlock.forward`` of transformers 4.57, and its kin.
    """
    import torch

    def forward(block: Any, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        flat = hidden.reshape(-1, hidden.shape[-1])
        router = block.gate(flat)
        shares = torch.softmax(router, dim=1, dtype=torch.float)
        weights, index = shares.topk(block.top_k, dim=-1)
        if getattr(block, "norm_topk_prob", True):
            weights = weights / weights.sum(dim=-1, keepdim=True)
        found = block.experts(flat, index, weights.to(hidden.dtype))
        if hasattr(block, "shared_expert"):
            share = torch.sigmoid(block.shared_expert_gate(flat))
            found = found + share * block.shared_expert(flat)
        return found.reshape(hidden.shape), router

    for block in list(model.base_model.modules()):
        if isinstance(getattr(block, "experts", None), torch.nn.ModuleList):
            block.experts = callable_experts(block.experts)
            block.forward = forward.__get__(block)
