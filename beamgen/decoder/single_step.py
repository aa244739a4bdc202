"""The decoder step of callers that search themselves: the usual cache, one token's logits."""

# onnxscript functions are read from source by its compiler: no annotations of
# their tensors, and every operator by name.
# mypy: disable-error-code="no-untyped-def, misc, no-untyped-call, arg-type"

from __future__ import annotations

from typing import Any

import torch
from onnxscript import opset23 as op
from onnxscript import script

from beamgen.decoder import head
from beamgen.decoder.attention import plain_attention
from beamgen.decoder.contract import Contract, step_contract
from beamgen.decoder.step_cache import StepCache
from beamgen.decoder.traced_node import Like, traced_node
from beamgen.decoder.traced_step import (
    NEW,
    PAST,
    KVPairs,
    SlotPairs,
    TracedStep,
)
from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def CachedAttention(  # noqa: N802 - an ONNX operator's name
    query, key, value, past_key, past_value, attention_bias, scale: float
):
    """Attention over a cache, to which the new entries are appended.

    query ``[B, H, N, D]``, key/value ``[B, Hkv, N, D]`` of the new tokens,
    past_key/past_value ``[B, Hkv, P, D]``, attention_bias ``[B, 1, N, P+N]`` ->
    attended ``[B, H, N, D]``, present_key/present_value ``[B, Hkv, P+N, D]``. H may be
    a multiple of Hkv (GQA): the standard op handles it. It appends to the cache faster
    than Concat does.

    Source: ONNX operator ``Attention``, opset 23.
    """
    attended, present_key, present_value = op.Attention(
        query, key, value, attention_bias, past_key, past_value, scale=scale
    )
    return attended, present_key, present_value


def _compute(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    past_key: torch.Tensor,
    past_value: torch.Tensor,
    attention_bias: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The arithmetic of ``CachedAttention`` in torch."""
    keys = torch.cat([past_key, key], dim=2)
    values = torch.cat([past_value, value], dim=2)
    return plain_attention(query, keys, values, attention_bias, scale), keys, values


_cached_attention = traced_node(
    CachedAttention, _compute, Like(0), Like(3, unknown=(0, 2)), Like(3, unknown=(0, 2))
)


class StepKVCache(StepCache):
    """The usual cache, to which ``attend`` appends."""

    def __init__(self, past: KVPairs) -> None:
        """Hold L pairs ``[B, Hkv, P, D]``."""
        super().__init__()
        self.present = list(past)

    def append(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append a layer's new entries where the cache is ``full``, else leave it to ``attend``."""
        if not self.full:
            return key, value
        past_key, past_value = self.present[layer_idx]
        entry = (torch.cat([past_key, key], dim=2), torch.cat([past_value, value], dim=2))
        self.present[layer_idx] = entry
        return entry

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """How many entries a layer holds."""
        return self.present[layer_idx][0].shape[2]


class SingleStep(TracedStep):
    """The decoder step of callers that search themselves, see ``contract.step_contract``."""

    bodies = (CachedAttention,)
    stateless_reader = "onnxruntime-genai"

    @property
    def base_contract(self) -> Contract:
        """The names and shapes of what ``forward`` takes and gives."""
        return step_contract(self.geometry, self.config.get_text_config().vocab_size, self.slots)

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        last: torch.Tensor,
        past: KVPairs,
        slots: SlotPairs = (),
        key_positions: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """The logits ``[B, 1, V]`` of the token ``last [B]``, and 2L present tensors.

        The cache argument is called anything but ``past_key_values``, which optimum
        would rewrite.
        """
        cache = StepKVCache(past)
        with self.filled(slots):
            hidden = self.hidden(input_ids, position_ids, attention_bias, cache, key_positions)
            wanted = last[:, None, None].expand(-1, 1, hidden.shape[-1])
            row = hidden.gather(1, wanted)[:, 0].unsqueeze(1)  # static in the trace
            logits = head.logits(self.model, row)
        return (logits, *(tensor for pair in cache.present for tensor in pair))

    def attend(
        self,
        cache: StepKVCache,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_bias: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """Append to the layer's cache and attend to it."""
        attended: torch.Tensor
        attended, keys, values = _cached_attention(
            query, key, value, *cache.present[layer], attention_bias, scale
        )
        cache.present[layer] = (keys, values)
        return attended

    def base_inputs(self) -> dict[str, Any]:
        """Zeros of every shape that is traced."""
        return {
            **self.dummy_tokens(PAST + NEW),
            "last": torch.tensor([NEW - 1, NEW - 2]),
            "past": self.dummy_cache(PAST),
            "slots": self.dummy_slots(1),
        }
