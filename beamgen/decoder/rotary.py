"""Rotary embeddings whose factors Hugging Face chooses in Python, where a trace would freeze it."""

from __future__ import annotations

from typing import Any

import torch

_BOUNDARY = "original_max_position_embeddings"
#: What some models choose along with the factors.
_SCALES = ("short_mscale", "long_mscale")


class LongRotary(torch.nn.Module):
    """A model's own rotary embedding, with LongRoPE's short or long factors.

    Attributes:
        seq_len: int64 scalar, by which a whole forward pass chooses: its largest position,
            and 1.

    Source: ``longrope_frequency_update`` of ``transformers/modeling_rope_utils.py``;
    ``PhimoeRotaryEmbedding.forward``.
    """

    def __init__(self, own: Any) -> None:
        """Compute both sets of factors, and let the embedding choose none itself."""
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        super().__init__()
        config = own.config
        outside = getattr(config, _BOUNDARY, config.max_position_embeddings)
        # of transformers 5, which looks for it nowhere else
        inside: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
        self.boundary: int = inside.get(_BOUNDARY, outside)
        self.seq_len: torch.Tensor | None = None
        factors = ROPE_INIT_FUNCTIONS["longrope"]
        self._short, self._scaling = factors(config, None)
        self._long, _ = factors(config, None, seq_len=self.boundary + 1)
        self._scales = [getattr(own, name, None) for name in _SCALES]
        own.rope_type = "default"
        own.rope_init_fn = lambda *_: (own.inv_freq, self._scaling)  # of those that ask each time
        self._own = own

    def forward(self, x: torch.Tensor, *given: Any, **named: Any) -> Any:
        """What the model's own gives for the same arguments: angles ``[B, N, D]``, or a table."""
        assert self.seq_len is not None, "a step tells it first"
        long = self.seq_len > self.boundary
        self._own.inv_freq = torch.where(long, self._long, self._short)
        short_scale, long_scale = self._scales
        if short_scale is not None and long_scale is not None:
            chosen = torch.where(long, long_scale, short_scale)
            self._own.short_mscale = self._own.long_mscale = chosen
        return self._own(x, *given, **named)


def traceable_rotary(model: torch.nn.Module) -> list[LongRotary]:
    """Let each LongRoPE of a model choose its factors in the trace; returns those modules."""
    found = []
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if getattr(child, "rope_type", None) == "longrope":
                found.append(LongRotary(child))
                setattr(parent, name, found[-1])
    return found
