"""HF rounds what it multiplies with a matrix of a stack, as experts are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_PRODUCTS = (
    torch.nn.functional.linear,
    torch.matmul,
    torch.bmm,
    torch.Tensor.matmul,
    torch.Tensor.__matmul__,
    torch.Tensor.bmm,
)
Round = Callable[[torch.Tensor], torch.Tensor]


def round_operands(
    module: torch.nn.Module, stacks: Sequence[torch.Tensor], rounding: Round
) -> None:
    """Let a module round what it multiplies with its stacks ``[E, ., .]``, or matrices of them."""
    own = module.forward

    def forward(*given: Any, **named: Any) -> Any:
        with _RoundedOperands(stacks, rounding):
            return own(*given, **named)

    module.forward = forward


class _RoundedOperands(TorchFunctionMode):
    """Sees each function of torch that is called, and changes products alone."""

    def __init__(self, stacks: Sequence[torch.Tensor], rounding: Round) -> None:
        super().__init__()
        self._rounding = rounding
        self._known = {id(stack): stack for stack in stacks}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _PRODUCTS and id(args[1]) in self._known:
            args = (self._rounding(args[0]), *args[1:])
        found = func(*args, **(kwargs or {}))
        if func is torch.Tensor.__getitem__ and id(args[0]) in self._known:
            self._known[id(found)] = found  # which keeps it, and so its id
        return found
