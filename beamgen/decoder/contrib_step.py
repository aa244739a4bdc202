"""The contrib backend's decoder step: keys and values in one tensor, as the op carries them."""

# onnxscript functions are read from source by its compiler: no annotations of
# their tensors, and every operator by name.
# mypy: disable-error-code="no-untyped-def, misc, no-untyped-call, arg-type"

from __future__ import annotations

from typing import Any

import torch
from onnxscript import opset23 as op
from onnxscript import script

from beamgen.decoder.contract import Contract, contrib_contract
from beamgen.decoder.traced_step import (
    BATCH,
    NEW,
    PAST,
    SlotPairs,
    StepCache,
    TracedStep,
    plain_attention,
)
from beamgen.onnx_domain import DOMAIN, beamgen_ops

_COPIES = 3


@script(beamgen_ops, default_opset=op)
def ConcatenatedCacheAttention(  # noqa: N802 - an ONNX operator's name
    query,
    key,
    value,
    past,
    attention_bias,
    row_of_copy,
    key_rows,
    value_rows,
    flat_shape,
    scale: float,
):
    """Attention over the op's cache, to which the new entries are appended.

    query ``[B, H, N, D]``, key/value ``[B, Hkv, N, D]`` of the new tokens, past ``[2,
    C, Hkv, P, D]``, attention_bias ``[B, 1, N, P+N]``, row_of_copy ``[C]``, key_rows
    and value_rows ``[B]``, flat_shape ``[4]`` -> attended ``[B, H, N, D]``, present
    ``[2, C, Hkv, P+N, D]``. The C rows of the cache are copies of the B rows;
    attention reads one of each.

    Source: ONNX operator ``Attention``, opset 23; the layout is that of
    ``com.microsoft::Attention``.
    """
    zero = op.Constant(value_ints=[0])
    entry = op.Concat(op.Unsqueeze(key, zero), op.Unsqueeze(value, zero), axis=0)
    present = op.Concat(past, op.Gather(entry, row_of_copy, axis=1), axis=3)
    flat = op.Reshape(present, flat_shape)  # [2 * C, Hkv, P+N, D]
    keys, values = op.Gather(flat, key_rows, axis=0), op.Gather(flat, value_rows, axis=0)
    attended = op.Attention(query, keys, values, attention_bias, scale=scale)
    return attended, present


class _ConcatenatedCacheAttention(torch.autograd.Function):
    """The same arithmetic in torch, and the node it leaves in a trace."""

    @staticmethod
    def symbolic(g: Any, query: Any, key: Any, value: Any, past: Any, *rest: Any) -> Any:
        *tensors, scale = rest
        attended, present = g.op(
            f"{DOMAIN}::ConcatenatedCacheAttention",
            *(query, key, value, past, *tensors),
            scale_f=scale,
            outputs=2,
        )
        attended.setType(query.type())
        kind = past.type()
        _, _, heads, _, width = kind.varyingSizes()
        present.setType(kind.with_sizes([2, None, heads, None, width]))
        return attended, present

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        past: torch.Tensor,
        attention_bias: torch.Tensor,
        row_of_copy: torch.Tensor,
        key_rows: torch.Tensor,
        value_rows: torch.Tensor,
        flat_shape: torch.Tensor,
        scale: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        entry = torch.stack([key, value])[:, row_of_copy]
        present = torch.cat([past, entry], dim=3)
        flat = present.flatten(0, 1)
        attended = plain_attention(query, flat[key_rows], flat[value_rows], attention_bias, scale)
        return attended, present


class OpCache(StepCache):
    """The op's cache, to which ``attend`` appends."""

    def __init__(self, past: list[torch.Tensor], rows: tuple[torch.Tensor, ...]) -> None:
        """L tensors ``[2, C, Hkv, P, D]``, and what says how their rows are used."""
        self.present = list(past)
        self.rows = rows

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Entries held by a layer."""
        return self.present[layer_idx].shape[3]


class ContribStep(TracedStep):
    """See ``contract.contrib_contract``."""

    attention = ConcatenatedCacheAttention

    @property
    def contract(self) -> Contract:
        """What ``forward`` takes and gives."""
        return contrib_contract(self.geometry, self.config.get_text_config().vocab_size, self.slots)

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        row_of_copy: torch.Tensor,
        key_rows: torch.Tensor,
        value_rows: torch.Tensor,
        flat_shape: torch.Tensor,
        past: list[torch.Tensor],
        slots: SlotPairs = (),
    ) -> tuple[torch.Tensor, ...]:
        """-> logits of the last token ``[B, 1, V]`` and L present tensors.

        The cache argument is called anything but ``past_key_values``, which optimum
        would rewrite.
        """
        cache = OpCache(past, (row_of_copy, key_rows, value_rows, flat_shape))
        with self.filled(slots):
            hidden = self.hidden(input_ids, position_ids, attention_bias, cache)
            last = hidden[:, -1].unsqueeze(1)  # [B, 1, hidden], which is static in the trace
            logits = self.adapter.logits(self.model, last)
        return (logits, *cache.present)

    def attend(
        self,
        cache: OpCache,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_bias: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """Append to the layer's cache and attend to it."""
        attended: torch.Tensor
        attended, cache.present[layer] = _ConcatenatedCacheAttention.apply(
            *(query, key, value, cache.present[layer], attention_bias, *cache.rows, scale)
        )
        return attended

    def dummy_inputs(self) -> dict[str, Any]:
        """Zeros."""
        heads, width = self.geometry.num_kv_heads, self.geometry.head_dim
        rows = torch.arange(BATCH * _COPIES)
        past = torch.zeros(2, len(rows), heads, PAST, width)
        return {
            **self.dummy_tokens(PAST + NEW),
            "row_of_copy": rows // _COPIES,
            "key_rows": rows[::_COPIES],
            "value_rows": rows[::_COPIES] + len(rows),
            "flat_shape": torch.tensor([-1, heads, PAST + NEW, width]),
            "past": [past.clone() for _ in range(self.geometry.num_layers)],
            "slots": self.dummy_slots(1),
        }
