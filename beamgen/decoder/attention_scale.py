"""By what a layer's scores are multiplied: what the model's own attention does with them.

transformers hands an attention function what most models need; some keep the rest to themselves,
and their own ``eager_attention_forward`` alone knows it. So each layer's is asked.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch

from beamgen.errors import AdapterError

#: Scores of a trial: far enough apart for a soft cap to show.
_SPREAD = 8.0
_KEYS = 5

Attention = Callable[..., tuple[torch.Tensor, Any]]
#: ``plain(query, keys, values, attention_bias, scale)``.
Plain = Callable[..., torch.Tensor]


def own_scale(
    module: torch.nn.Module,
    heads: tuple[int, int, int],
    scaling: float | None,
    extras: Mapping[str, Any],
    plain: Plain,
) -> float:
    """The factor with which a plain attention equals a layer's own.

    Args:
        module: the layer.
        heads: H, Hkv and D.
        scaling: the factor that the layer hands over, if any.
        extras: what else it hands over.
        plain: what is going to compute its attention.

    Raises:
        AdapterError: there is none, because its own attention does something else.
    """
    given = float(heads[2] ** -0.5 if scaling is None else scaling)
    eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    if eager is None:
        return given

    def own(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        bias = torch.zeros(1, 1, 1, keys.shape[2])
        attended, _ = eager(
            module, query, keys, values, bias, **{**extras, "scaling": scaling, "dropout": 0.0}
        )
        result: torch.Tensor = attended.transpose(1, 2)
        return result

    with torch.no_grad():
        if _equal(own, plain, heads, given):
            return given
        measured = _measured(own, heads)
        if _equal(own, plain, heads, measured):
            return measured
    named = ", ".join(f"{name} {value}" for name, value in extras.items() if _is_set(value))
    raise AdapterError(
        f"{type(module).__name__} does more than scale its scores" + (f" ({named})" * bool(named)),
        "its adapter has to trace such attention: override forward",
    )


def _measured(own: Callable[..., torch.Tensor], heads: tuple[int, int, int]) -> float:
    """The factor, from how two keys share a query whose scores differ by 1."""
    queries, groups, size = heads
    query = torch.zeros(1, queries, 1, size)
    keys, values = torch.zeros(1, groups, 2, size), torch.zeros(1, groups, 2, size)
    query[..., 0] = keys[:, :, 0, 0] = 1.0
    values[:, :, 0, 0] = values[:, :, 1, 1 % size] = 1.0
    share = own(query, keys, values)[0, 0, 0]
    return math.log(float(share[0]) / float(share[1 % size]))


def _equal(
    own: Callable[..., torch.Tensor], plain: Plain, heads: tuple[int, int, int], scale: float
) -> bool:
    queries, groups, size = heads
    dice = torch.Generator().manual_seed(0)
    query = torch.randn(1, queries, 1, size, generator=dice)
    keys, values = torch.randn(2, 1, groups, _KEYS, size, generator=dice)
    query = query * (_SPREAD / max(abs(scale) * size**0.5, 1e-9))
    expected = own(query, keys, values)
    found = plain(query, keys, values, torch.zeros(1, 1, 1, _KEYS), scale)
    return expected.shape == found.shape and torch.allclose(expected, found, atol=1e-4)


def _is_set(value: Any) -> bool:
    return isinstance(value, int | float | str) and value not in (False, 0, "")
