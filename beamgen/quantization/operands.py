"""HF rounds what it multiplies, product by product.

So do the matrices of a stack, as experts are stored, and weights in two planes, whose products
lack a part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_PRODUCTS = (
    torch.nn.functional.linear,
    torch.matmul,
    torch.bmm,
    torch.addmm,
    torch.Tensor.matmul,
    torch.Tensor.__matmul__,
    torch.Tensor.bmm,
)
#: What gives a matrix of a stack, or a weight whose rows are columns.
_VIEWS = (
    torch.Tensor.__getitem__,
    torch.Tensor.T.__get__,  # type: ignore[attr-defined] # of a property
    torch.Tensor.mT.__get__,  # type: ignore[attr-defined] # of a property
    torch.Tensor.t,
)
#: What a product reads: rounded, and what the second plane of that stands for, if it has one.
Round = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor | None]]


def round_operands(
    module: torch.nn.Module,
    weights: Sequence[torch.Tensor],
    rounding: Round,
    seconds: Mapping[int, torch.Tensor],
) -> None:
    """Let a module round what it multiplies with its weights.

    Args:
        module: HF's.
        weights: matrices ``[., .]``, or stacks ``[E, ., .]`` of which matrices are read.
        rounding: of the other operand.
        seconds: what the second planes of weights stand for, by the weights' ids. The product of
            both second planes is left out.
    """
    own = module.forward

    def forward(*given: Any, **named: Any) -> Any:
        with _RoundedOperands(weights, rounding, seconds):
            return own(*given, **named)

    module.forward = forward


class _RoundedOperands(TorchFunctionMode):
    """Sees each function of torch that is called, and changes products alone."""

    def __init__(
        self,
        weights: Sequence[torch.Tensor],
        rounding: Round,
        seconds: Mapping[int, torch.Tensor],
    ) -> None:
        super().__init__()
        self._rounding = rounding
        self._known = {id(weight): weight for weight in weights}
        self._seconds = dict(seconds)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        place = 1 if func is torch.addmm else 0  # behind what is added
        if func in _PRODUCTS and id(args[place + 1]) in self._known:
            return self._multiplied(func, args, place, named)
        found = func(*args, **named)
        if func in _VIEWS and id(args[0]) in self._known:
            self._known[id(found)] = found  # which keeps it, and so its id
            if id(args[0]) in self._seconds:
                self._seconds[id(found)] = func(self._seconds[id(args[0])], *args[1:], **named)
        return found

    def _multiplied(self, func: Any, args: Any, place: int, named: Any) -> Any:
        x, weight = args[place : place + 2]
        rounded, second = self._rounding(x)
        found = func(*args[:place], rounded, *args[place + 1 :], **named)
        if second is None:
            return found
        product = torch.mm if func is torch.addmm else func
        return found - product(second, self._seconds[id(weight)])
