"""The one attention function of every exported decoder.

Tracing puts a single node ``beamgen::SharedPromptAttention`` in each layer. It
is a model-local function, so its body is chosen here and can change without
tracing anything again.
"""

# onnxscript functions are read from source by its compiler: no annotations of
# their tensors, and every operator by name.
# mypy: disable-error-code="no-untyped-def, misc, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
from onnxscript import opset23 as op
from onnxscript import script
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from beamgen.onnx_domain import DOMAIN, beamgen_ops

ATTENTION_NAME = "beamgen_shared_prompt"


@script(beamgen_ops, default_opset=op)
def SharedPromptAttention(  # noqa: N802 - an ONNX operator's name
    query, prompt_key, prompt_value, key, value, attention_bias, scale: float
):
    """Attention over a row's prompt (stored once) and its generated entries.

    query ``[B, H, N, D]``, prompt_key/value ``[B, Hkv, S, D]``, key/value
    ``[B, Hkv, C, D]``, attention_bias ``[B, 1, N, S+C]`` -> ``[B, H, N, D]``.
    H may be a multiple of Hkv (GQA): the standard op handles it.

    Source: ONNX operator ``Attention``, opset 23.
    """
    keys = op.Concat(prompt_key, key, axis=2)
    values = op.Concat(prompt_value, value, axis=2)
    return op.Attention(query, keys, values, attention_bias, scale=scale)


class _SharedPromptAttention(torch.autograd.Function):
    """The same arithmetic in torch, and the node it leaves in a trace.

    Plain products and softmax: optimum replaces
    ``scaled_dot_product_attention`` while it exports.
    """

    @staticmethod
    def symbolic(g: Any, query: Any, *rest: Any) -> Any:
        *tensors, scale = rest
        node = g.op(f"{DOMAIN}::SharedPromptAttention", query, *tensors, scale_f=scale)
        node.setType(query.type())
        return node

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        prompt_key: torch.Tensor,
        prompt_value: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_bias: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        groups = query.shape[1] // key.shape[1]
        keys = torch.cat([prompt_key, key], dim=2).repeat_interleave(groups, dim=1)
        values = torch.cat([prompt_value, value], dim=2).repeat_interleave(groups, dim=1)
        scores = query @ keys.transpose(-1, -2) * scale + attention_bias
        return torch.softmax(scores, dim=-1) @ values


class StepCache:
    """Takes each layer's new keys and values; what HF models expect of a cache.

    Holds both caches of the decoder contract: the prompt's, which a step only
    reads, and the generated entries', which it extends.

    Source: ``transformers.cache_utils.Cache`` (``update``, ``get_seq_length``,
    ``get_mask_sizes`` are what model code calls).
    """

    is_compileable = False

    def __init__(
        self,
        prompt: list[tuple[torch.Tensor, torch.Tensor]],
        past: list[tuple[torch.Tensor, torch.Tensor]],
    ) -> None:
        """L pairs ``[B, Hkv, S, D]`` and L pairs ``[B, Hkv, R, D]``."""
        self.prompt = prompt
        self.present = list(past)

    def update(
        self,
        key: torch.Tensor,
        value: torch.Tensor,
        layer_idx: int,
        cache_kwargs: dict[str, Any] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append ``[B, Hkv, N, D]`` to a layer; returns ``[B, Hkv, R+N, D]``."""
        past_key, past_value = self.present[layer_idx]
        entry = (torch.cat([past_key, key], dim=2), torch.cat([past_value, value], dim=2))
        self.present[layer_idx] = entry
        return entry

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Generated entries held by a layer."""
        return self.present[layer_idx][0].shape[2]

    def get_mask_sizes(self, cache_position: torch.Tensor, layer_idx: int = 0) -> tuple[int, int]:
        """(length, offset) of the keys; unused, since the 4-D mask is given."""
        return self.get_seq_length(layer_idx) + cache_position.shape[0], 0


class TracedAttention:
    """Routes every layer of an HF model through ``SharedPromptAttention``.

    The prompt's cache cannot travel through HF's layers, which know one cache
    only; the layers' attention function reads it from the step in progress.
    """

    _step: StepCache | None = None

    def __init__(self, model: torch.nn.Module) -> None:
        """Switch the model over to this attention function."""
        AttentionInterface.register(ATTENTION_NAME, self._attend)
        ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION_NAME, _no_mask)
        for module in model.modules():
            config: Any = getattr(module, "config", None)
            if config is not None:
                config._attn_implementation = ATTENTION_NAME

    def begin(self, cache: StepCache) -> StepCache:
        """Name the cache that the coming forward pass uses."""
        self._step = cache
        return cache

    def _attend(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor,
        scaling: float | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        """``transformers.AttentionInterface``; returns ``[B, N, H, D]``."""
        assert self._step is not None, "begin() comes before the forward pass"
        prompt_key, prompt_value = self._step.prompt[module.layer_idx]  # type: ignore[index] # HF sets an int
        scale = float(query.shape[-1] ** -0.5 if scaling is None else scaling)
        attended = _SharedPromptAttention.apply(
            query, prompt_key, prompt_value, key, value, attention_mask, scale
        )
        return attended.transpose(1, 2).contiguous(), None


def _no_mask(*_: Any, **__: Any) -> None:
    raise RuntimeError("the model builds its own mask instead of taking the 4-D one it is given")
