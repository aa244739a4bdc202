"""Functions of torch that a trace would hold for the dummy inputs alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

import torch


@contextmanager
def traceable() -> Iterator[None]:
    """Let a model's code leave nodes that hold for every input.

    - ``repeat_interleave`` by a number: torch's exporter fails where other axes are dynamic.
    - ``torch.greater(counts, 0)``: mixtures of experts look with it for the experts that some
      token goes to, and then go through them in Python. All of them are found, so that the
      trace holds all; each computes the tokens that the router gives it, maybe none.
    """
    own = torch.Tensor.repeat_interleave
    with (
        patch.object(torch.Tensor, "repeat_interleave", _interleaving(own)),
        patch.object(torch, "repeat_interleave", _interleaving(torch.repeat_interleave)),
        patch.object(torch, "greater", _all_counts(torch.greater)),
    ):
        yield


def _interleaving(own: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """``repeat_interleave`` by a number along an axis, as a stack of copies."""

    @wraps(own)
    def repeat_interleave(
        x: torch.Tensor, repeats: Any, dim: int | None = None, **more: Any
    ) -> torch.Tensor:
        if not isinstance(repeats, int) or dim is None:
            return own(x, repeats, dim, **more)
        axis = dim % x.dim()
        return torch.stack([x] * repeats, dim=axis + 1).flatten(axis, axis + 1)

    return repeat_interleave


def _all_counts(own: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """``greater`` that finds every count positive."""

    @wraps(own)
    def greater(values: torch.Tensor, bound: Any, **more: Any) -> torch.Tensor:
        if bound != 0 or values.is_floating_point():
            return own(values, bound, **more)
        return torch.ones([int(size) for size in values.shape], dtype=torch.bool)

    return greater
