"""The contrib backend's decoder step: keys and values in one tensor, as the operator has them."""

# onnxscript functions are read from source by its compiler: no annotations of
# their tensors, and every operator by name.
# mypy: disable-error-code="no-untyped-def, misc, no-untyped-call, arg-type"

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from onnxscript import opset23 as op
from onnxscript import script
from torch.nn.functional import pad

from beamgen.decoder import head
from beamgen.decoder.attention import plain_attention
from beamgen.decoder.contract import Contract, contrib_contract
from beamgen.decoder.step_cache import StepCache
from beamgen.decoder.traced_node import Like, traced_node
from beamgen.decoder.traced_step import (
    BATCH,
    NEW,
    PAST,
    SlotPairs,
    TracedStep,
)
from beamgen.onnx_domain import beamgen_ops

_COPIES = 3


@script(beamgen_ops, default_opset=op)
def ConcatenatedCache(key, value, past, row_of_copy):  # noqa: N802 - an ONNX operator's name
    """The operator's cache, to which the new entries are appended.

    key/value ``[B, Hkv, N, D]`` of the new tokens, past ``[2, C, Hkv, P, D]``,
    row_of_copy ``[C]`` -> present ``[2, C, Hkv, P+N, D]``. The C rows of the cache are
    copies of the B rows.

    Source: the layout is that of ``com.microsoft::Attention``.
    """
    zero = op.Constant(value_ints=[0])
    entry = op.Concat(op.Unsqueeze(key, zero), op.Unsqueeze(value, zero), axis=0)
    return op.Concat(past, op.Gather(entry, row_of_copy, axis=1), axis=3)


@script(beamgen_ops, default_opset=op)
def ConcatenatedCacheAttention(  # noqa: N802 - an ONNX operator's name
    query, present, attention_bias, key_rows, value_rows, flat_shape, scale: float
):
    """Attention over the operator's cache, of which one copy of each row is read.

    query ``[B, H, N, D]``, present ``[2, C, Hkv, T, D]``, attention_bias ``[B, 1, N, T]``,
    key_rows and value_rows ``[B]``, flat_shape ``[4]`` -> attended ``[B, H, N, D]``.

    Source: ONNX operator ``Attention``, opset 23.
    """
    flat = op.Reshape(present, flat_shape)  # [2 * C, Hkv, T, D]
    keys, values = op.Gather(flat, key_rows, axis=0), op.Gather(flat, value_rows, axis=0)
    return op.Attention(query, keys, values, attention_bias, scale=scale)


def _append(
    key: torch.Tensor, value: torch.Tensor, past: torch.Tensor, row_of_copy: torch.Tensor
) -> torch.Tensor:
    """The arithmetic of ``ConcatenatedCache`` in torch."""
    return torch.cat([past, torch.stack([key, value])[:, row_of_copy]], dim=3)


def _attend(
    query: torch.Tensor,
    present: torch.Tensor,
    attention_bias: torch.Tensor,
    key_rows: torch.Tensor,
    value_rows: torch.Tensor,
    flat_shape: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """The arithmetic of ``ConcatenatedCacheAttention`` in torch."""
    flat = present.flatten(0, 1)
    return plain_attention(query, flat[key_rows], flat[value_rows], attention_bias, scale)


_concatenated_cache = traced_node(ConcatenatedCache, _append, Like(2, unknown=(1, 3)))
_concatenated_cache_attention = traced_node(ConcatenatedCacheAttention, _attend, Like(0))


class CopyRows(NamedTuple):
    """How the rows of the operator's cache are used, see ``contract.contrib_contract``."""

    row_of_copy: torch.Tensor
    key_rows: torch.Tensor
    value_rows: torch.Tensor
    flat_shape: torch.Tensor


class ContribCache(StepCache):
    """The operator's cache, to which ``attend`` appends."""

    def __init__(self, past: list[torch.Tensor], rows: CopyRows) -> None:
        """Hold L tensors ``[2, C, Hkv, P, D]``, and how their rows are used."""
        super().__init__()
        self.present = list(past)
        self.rows = rows

    def append(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append a layer's new entries where the cache is ``full``, else leave it to ``attend``."""
        if not self.full:
            return key, value
        rows, widths = self.rows, (key.shape[-1], value.shape[-1])
        if widths[0] != widths[1]:  # which are stored in one tensor
            key, value = (pad(x, [0, max(widths) - x.shape[-1]]) for x in (key, value))
        present = _concatenated_cache(key, value, self.present[layer_idx], rows.row_of_copy)
        self.present[layer_idx] = present
        flat = present.flatten(0, 1)  # [2 * C, Hkv, T, D]
        keys, values = (flat.index_select(0, of) for of in (rows.key_rows, rows.value_rows))
        return keys[..., : widths[0]], values[..., : widths[1]]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """How many entries a layer holds."""
        return self.present[layer_idx].shape[3]


class ContribStep(TracedStep):
    """The decoder step of the contrib backend, see ``contract.contrib_contract``."""

    bodies = (ConcatenatedCache, ConcatenatedCacheAttention)
    stateless_reader = "ONNX Runtime's operators"

    @property
    def base_contract(self) -> Contract:
        """The names and shapes of what ``forward`` takes and gives."""
        return contrib_contract(self.geometry, self.config.get_text_config().vocab_size, self.slots)

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        rows: Sequence[torch.Tensor],
        past: list[torch.Tensor],
        slots: SlotPairs = (),
        key_positions: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """The logits of the last token ``[B, 1, V]``, and L present tensors.

        The cache argument is called anything but ``past_key_values``, which optimum
        would rewrite; ``rows`` are those of ``CopyRows``.
        """
        cache = ContribCache(past, CopyRows(*rows))
        with self.filled(slots):
            hidden = self.hidden(input_ids, position_ids, attention_bias, cache, key_positions)
            last = hidden[:, -1].unsqueeze(1)  # [B, 1, hidden], which is static in the trace
            logits = head.logits(self.model, last)
        return (logits, *cache.present)

    def attend(
        self,
        cache: ContribCache,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_bias: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """Append to the layer's cache and attend to it."""
        rows = cache.rows
        present = _concatenated_cache(key, value, cache.present[layer], rows.row_of_copy)
        cache.present[layer] = present
        attended: torch.Tensor = _concatenated_cache_attention(
            query, present, attention_bias, rows.key_rows, rows.value_rows, rows.flat_shape, scale
        )
        return attended

    def base_inputs(self) -> dict[str, Any]:
        """Zeros of every shape that is traced."""
        heads, width = self.geometry.num_kv_heads, max(self.geometry.widths)
        rows = torch.arange(BATCH * _COPIES)
        past = torch.zeros(2, len(rows), heads, PAST, width)
        return {
            **self.dummy_tokens(PAST + NEW),
            "rows": CopyRows(
                row_of_copy=rows // _COPIES,
                key_rows=rows[::_COPIES],
                value_rows=rows[::_COPIES] + len(rows),
                flat_shape=torch.tensor([-1, heads, PAST + NEW, width]),
            ),
            "past": [past.clone() for _ in range(self.geometry.num_layers)],
            "slots": self.dummy_slots(1),
        }
