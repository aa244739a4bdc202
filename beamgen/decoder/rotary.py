"""Rotary embeddings as a trace can hold them: in few nodes, and with factors that are chosen in it.

Hugging Face chooses LongRoPE's factors in Python, where a trace would freeze the choice.
"""

from __future__ import annotations

from typing import Any

import torch

_BOUNDARY = "original_max_position_embeddings"
#: What some models choose along with the factors.
_SCALES = ("short_mscale", "long_mscale")

_TRIAL = torch.arange(0, 300, 43)[None]


class PlainRotary(torch.nn.Module):
    """Angles in the layout that most models have: a product, and each half alike.

    Hugging Face's code expands the bands over the batch and multiplies matrices.
    """

    def __init__(self, own: Any) -> None:
        """Take over the bands of a model's own, and what it multiplies by."""
        super().__init__()
        self.config = own.config
        self.inv_freq: torch.Tensor = own.inv_freq
        self._scaling = getattr(own, "attention_scaling", 1.0)

    def forward(
        self, x: torch.Tensor, position_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines ``[B, N, D]`` of positions ``[B, N]``."""
        freqs = position_ids[:, :, None].float() * self.inv_freq  # [B, N, D/2]
        angles = torch.cat((freqs, freqs), dim=-1)
        return angles.cos() * self._scaling, angles.sin() * self._scaling


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
    """Replace a model's rotary embeddings by such as trace well; returns those of LongRoPE."""
    found = []
    for parent in list(model.modules()):
        children: list[tuple[str, Any]] = list(parent.named_children())
        for name, own in children:
            kind = getattr(own, "rope_type", None)
            if not isinstance(kind, str) or "dynamic" in kind:
                continue
            own.rope_type = "default"  # which chooses nothing
            traceable = _plain(own)
            if kind == "longrope":
                traceable = LongRotary(traceable)
                found.append(traceable)
            setattr(parent, name, traceable)
    return found


def _plain(own: Any) -> Any:
    """A plain embedding where it gives the same angles, else the model's own."""
    if not hasattr(own, "inv_freq"):
        return own
    plain, x = PlainRotary(own), torch.zeros(1)
    with torch.no_grad():
        found = plain(x, _TRIAL)
        try:
            expected = tuple(own(x, _TRIAL))
        except Exception:  # it takes something else than positions
            return own
    if len(expected) != len(found) or expected[0].shape != found[0].shape:
        return own
    return plain if all(map(torch.allclose, found, expected)) else own
