"""Mixtures of experts: one loop for each layer's, where a trace would hold every expert."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from beamgen.decoder.routed_experts import AddExpert, RoutedExperts, compute, routed_experts

#: The bodies of the nodes that a loop leaves.
EXPERT_BODIES = (RoutedExperts, AddExpert)

#: How transformers 5 calls a layer's experts.
_ARGUMENTS = ("hidden_states", "top_k_index", "top_k_weights")
#: What mixtures call the gate and up of an expert, its down, and those of expert n.
_NAMES = (
    (("gate_proj", "up_proj"), "down_proj", "{0}.{1}.weight"),
    (("w1", "w3"), "w2", "{0}.{1}.weight"),
    (("gate_up_proj",), "down_proj", "{1}.{0}"),
)
_TRIAL_TOKENS = 3
#: Of what stands before the gate: far enough apart for activations to differ.
_SPREAD = 8.0
_TOLERANCE = 1e-4  # of the largest number that comes out


def loop_over_experts(model: torch.nn.Module, kept: Sequence[str] = ()) -> None:
    """Let each mixture of SwiGLU experts leave one node in a trace, and stand in two tensors.

    A mixture is a module that is called with tokens, the numbers of their experts and their
    weights; it has a parameter ``gate_up_proj [E, 2 * I, hidden]`` and one ``down_proj
    [E, hidden, I]``, as in transformers 5, or is a list of experts. Those that compute
    something else, which a trial tells, stay as they are.

    Args:
        model: changed in place.
        kept: names of layers that have to stay, such as those that take a LoRA.
    """
    for name, module in list(model.named_modules()):
        if tuple(inspect.signature(module.forward).parameters) != _ARGUMENTS:
            continue
        if any(layer.startswith(f"{name}.") for layer in kept):
            continue
        stack = _stack(module)
        if stack is not None and _computes(module, *stack):
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, _Looped(*stack))


def has_loops(model: torch.nn.Module) -> bool:
    """Whether ``loop_over_experts`` found some."""
    return any(isinstance(module, _Looped) for module in model.modules())


class _Looped(torch.nn.Module):
    """All experts of a layer in two tensors, and one node."""

    def __init__(self, gate_up: torch.Tensor, down: torch.Tensor) -> None:
        super().__init__()
        self.gate_up_proj = torch.nn.Parameter(gate_up, requires_grad=False)
        self.down_proj = torch.nn.Parameter(down, requires_grad=False)

    def forward(
        self,
        hidden_states: torch.Tensor,
        top_k_index: torch.Tensor,
        top_k_weights: torch.Tensor,
    ) -> torch.Tensor:
        """What the experts make of tokens ``[T, hidden]``."""
        found: torch.Tensor = routed_experts(
            hidden_states, top_k_index, top_k_weights, self.gate_up_proj, self.down_proj
        )
        return found


def _stack(module: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The weights of a mixture, gate and up in one, or None where they are others."""
    own = {name: parameter.detach() for name, parameter in module.named_parameters()}
    if own.keys() == {"gate_up_proj", "down_proj"}:
        return own["gate_up_proj"], own["down_proj"]
    for first, last, pattern in _NAMES:
        experts = range(len(own) // (len(first) + 1))
        of_each = [[pattern.format(n, part) for part in first] for n in experts]
        lasts = [pattern.format(n, last) for n in experts]
        if own.keys() == {*lasts, *(name for names in of_each for name in names)}:
            gate_up = [torch.cat([own[name] for name in names]) for names in of_each]
            return torch.stack(gate_up), torch.stack([own[name] for name in lasts])
    return None


def _computes(module: Any, gate_up: torch.Tensor, down: torch.Tensor) -> bool:
    """Whether a mixture makes of some tokens what ``RoutedExperts`` does."""
    if gate_up.dim() != 3 or gate_up.shape != (len(down), 2 * down.shape[2], down.shape[1]):
        return False
    dice = torch.Generator().manual_seed(0)
    tokens = torch.randn(_TRIAL_TOKENS, down.shape[1], generator=dice)
    index = torch.stack([torch.randperm(len(down), generator=dice)[:2] for _ in tokens])
    weights = torch.rand(index.shape, generator=dice)
    largest = max(float((tokens @ gate_up[n].T).abs().max()) for n in set(index.flatten().tolist()))
    tokens = tokens * (_SPREAD / max(largest, 1e-9))
    with torch.no_grad():
        expected = module(tokens, index, weights)
    difference = (expected - compute(tokens, index, weights, gate_up, down)).abs().max()
    return bool(difference <= _TOLERANCE * expected.abs().max())
