"""Mixtures of experts in a form that a trace can hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def routed(
    hidden: torch.Tensor,
    index: torch.Tensor,
    weights: torch.Tensor,
    experts: Iterable[Callable[[torch.Tensor], torch.Tensor]],
) -> torch.Tensor:
    """What a router's experts give, ``[T, hidden]``: each computes its own tokens, maybe none.

    Args:
        hidden: of T tokens, ``[T, hidden]``.
        index: int64 ``[T, k]``, the experts of each token.
        weights: float ``[T, k]``, of what they give.
        experts: all of them, in order.
    """
    import torch

    found = torch.zeros_like(hidden)
    for number, expert in enumerate(experts):
        token, choice = torch.where(index == number)
        given = expert(hidden[token]) * weights[token, choice, None]
        found = found.index_add(0, token, given.to(hidden.dtype))
    return found
