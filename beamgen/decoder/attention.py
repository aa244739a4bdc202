"""What a model's layers ask of attention, and attention in plain operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from beamgen.errors import AdapterError

# What layers hand on that changes no result: how the model was called, what it is to give
# back, and positions, which the bias and the rotary embedding were made from.
_CHANGE_NOTHING = frozenset(
    (
        "cache",
        "cache_position",
        "is_causal",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "past_key_value",
        "past_key_values",
        "position_embeddings",
        "position_ids",
        "return_dict",
        "use_cache",
    )
)


@dataclass(frozen=True)
class Asked:
    """What one layer asks of attention, beside its query, keys and values.

    Attributes:
        scale: of the scores.
        window: slots that a token sees, itself included, or None: all.
        softcap: ``tanh(score / softcap) * softcap`` is taken of each score, or None.
        sinks: float ``[H]``, a score of each head that takes part in the softmax and has
            no value; or None.
        same_widths: whether values are as wide as keys.
        own_keys: whether it makes its keys and values of what the cache gave it, as latent
            attention expands them, and does not attend to that itself.
    """

    scale: float
    window: int | None = None
    softcap: float | None = None
    sinks: torch.Tensor | None = None
    same_widths: bool = True
    own_keys: bool = False

    @property
    def is_standard(self) -> bool:
        """Whether the standard operator ``Attention`` does it, with the window in the bias."""
        plain = self.softcap is None and self.sinks is None
        return plain and self.same_widths and not self.own_keys


def asked_by(
    module: torch.nn.Module,
    query: torch.Tensor,
    value: torch.Tensor,
    given: Mapping[str, Any],
    *,
    causal: bool = True,
) -> Asked:
    """Read what a layer gave to a function of ``transformers.AttentionInterface``.

    Args:
        module: the layer's attention.
        query: ``[B, H, N, D]``.
        value: ``[B, Hkv, ., D]``, whose D may be another.
        given: its keyword arguments.
        causal: whether it may look back only.

    Raises:
        AdapterError: it asks for something that is not known here, or attends in both
            directions.
    """
    known = {"scaling", "sliding_window", "softcap", "s_aux", "dropout"}
    unknown = sorted(
        name
        for name, value in given.items()
        if value is not None and name not in known and name not in _CHANGE_NOTHING
    )
    if given.get("dropout"):
        unknown.append("dropout")
    if causal and getattr(module, "is_causal", True) is False:
        unknown.append("is_causal=False")
    if unknown:
        raise AdapterError(
            f"{type(module).__name__} asks attention for {', '.join(unknown)}, "
            "which an exported decoder does not do",
            "this checkpoint cannot be exported",
        )
    scaling, window = given.get("scaling"), given.get("sliding_window")
    return Asked(
        scale=float(query.shape[-1] ** -0.5 if scaling is None else scaling),
        window=None if window is None else int(window),
        softcap=given.get("softcap"),
        sinks=given.get("s_aux"),
        same_widths=query.shape[-1] == value.shape[-1],
    )


def plain_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    attention_bias: torch.Tensor,
    scale: float,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention in torch; H may be a multiple of Hkv (GQA).

    query ``[B, H, N, D]``, keys and values ``[B, Hkv, C, D]``, attention_bias
    ``[B, 1, N, C]`` -> ``[B, H, N, D]``. Plain products and softmax: optimum replaces
    ``scaled_dot_product_attention`` while it exports. For the rest see ``Asked``.

    Source: ``eager_attention_forward`` of Gemma 2 (``softcap``) and of GPT-OSS (``s_aux``).
    """
    groups = query.shape[1] // keys.shape[1]
    keys = keys.repeat_interleave(groups, dim=1)
    values = values.repeat_interleave(groups, dim=1)
    scores = query @ keys.transpose(-1, -2) * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores + attention_bias
    if sinks is None:
        return torch.softmax(scores, dim=-1) @ values
    column = sinks.reshape(1, -1, 1, 1).expand(*query.shape[:3], 1)
    with_sinks = torch.cat([scores, column], dim=-1)
    return torch.softmax(with_sinks, dim=-1)[..., :-1] @ values
