"""Rotary embeddings whose factors Hugging Face chooses in Python, where a trace would freeze it."""

from __future__ import annotations

from typing import Any

import torch

_BOUNDARY = "original_max_position_embeddings"


class LongRotary(torch.nn.Module):
    """A model's own rotary embedding, with LongRoPE's short or long factors.

    Attributes:
        seq_len: int64 scalar, by which a whole forward pass chooses: its largest position,
            and 1; None where that is told by the positions that the embedding is given.

    Source: ``longrope_frequency_update`` of ``transformers/modeling_rope_utils.py``.
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
        self._short = own.original_inv_freq
        self._long, _ = ROPE_INIT_FUNCTIONS["longrope"](config, None, seq_len=self.boundary + 1)
        own.rope_type = "default"
        self._own = own

    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> Any:
        """The model's own angles of positions ``[B, N]``."""
        seq_len = position_ids.max() + 1 if self.seq_len is None else self.seq_len
        self._own.inv_freq = torch.where(seq_len > self.boundary, self._long, self._short)
        return self._own(x, position_ids)


def traceable_rotary(model: torch.nn.Module) -> list[LongRotary]:
    """Let each LongRoPE of a model choose its factors in the trace; returns those modules."""
    found = []
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if getattr(child, "rope_type", None) == "longrope":
                found.append(LongRotary(child))
                setattr(parent, name, found[-1])
    return found
