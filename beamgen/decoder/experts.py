"""Experts that a model keeps in one tensor, as those of transformers 5 do, each apart in a trace.

transformers sorts the tokens by expert and computes them by counts, for which there is no operator;
or it goes through the experts that some token is sent to, which a trace would freeze.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from beamgen.adapter import routed

_NAME = "beamgen_traced"
#: What the experts of ``transformers.integrations.moe`` call their tensors ``[E, ...]``.
_TENSORS = ("gate_up_proj", "up_proj", "down_proj")


def traceable_experts(model: PreTrainedModel) -> None:
    """Let all experts of a model compute through ``each_alone``, with weights of their own.

    Where transformers has no interface for experts, before 5, models go through them themselves.

    Source: ``use_experts_implementation`` of ``transformers/integrations/moe.py``.
    """
    try:
        from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
    except ImportError:
        return
    ALL_EXPERTS_FUNCTIONS.register(_NAME, each_alone)
    for module in model.modules():
        if hasattr(module, "has_gate") and hasattr(module, "is_transposed"):
            module.config._experts_implementation = _NAME
            _split(module)


def each_alone(
    experts: Any, hidden: torch.Tensor, index: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """What the experts give, ``[T, hidden]``: a function of transformers' ``ExpertsInterface``.

    Args:
        experts: the module that keeps them.
        hidden: of T tokens, ``[T, hidden]``.
        index: int64 ``[T, k]``, the experts of each token.
        weights: float ``[T, k]``, of what they give.

    Source: ``batched_mm_experts_forward`` of ``transformers/integrations/moe.py``.
    """
    return routed(
        hidden, index, weights, [partial(_one, experts, n) for n in range(experts.num_experts)]
    )


def _one(experts: Any, number: int, tokens: torch.Tensor) -> torch.Tensor:
    """What one expert gives for its tokens ``[t, hidden]``."""
    first = _product(experts, "gate_up_proj" if experts.has_gate else "up_proj", number, tokens)
    between = experts._apply_gate(first) if experts.has_gate else experts.act_fn(first)
    given = _product(experts, "down_proj", number, between)
    if getattr(experts, "has_post_expert_norm", False):
        normed: torch.Tensor = experts.post_expert_norm(given)
        return normed
    return given


def _product(experts: Any, name: str, number: int, x: torch.Tensor) -> torch.Tensor:
    weight = getattr(experts, name)[number]
    bias = getattr(experts, f"{name}_bias")[number] if experts.has_bias else None
    return torch.nn.functional.linear(x, weight.T if experts.is_transposed else weight, bias)


def _split(experts: torch.nn.Module) -> None:
    """Give each expert a tensor of its own, which the runtime can lay out for its product."""
    for name in _TENSORS:
        fused = experts._parameters.get(name)
        if fused is not None:
            parts = (torch.nn.Parameter(part, requires_grad=False) for part in fused.detach())
            delattr(experts, name)
            setattr(experts, name, torch.nn.ParameterList(parts))
