"""Rounding that lets gradients pass, so that a model learns to be rounded.

Source: Bengio et al. 2013, "Estimating or Propagating Gradients Through Stochastic Neurons for
Conditional Computation" (arXiv:1308.3432), section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Round = Callable[[torch.Tensor], torch.Tensor]


def straight_through(x: torch.Tensor, rounding: Round) -> torch.Tensor:
    """Exactly what ``rounding`` makes of ``x``; backwards, the gradient as if it were ``x``."""
    found: torch.Tensor = _StraightThrough.apply(x, rounding)  # type: ignore[no-untyped-call]
    return found


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, rounding: Round) -> torch.Tensor:
        return rounding(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None
