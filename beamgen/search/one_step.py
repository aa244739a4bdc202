"""A decoder step alone, in the layout that runtimes with a search of their own take."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from beamgen.adapter import KVGeometry
from beamgen.decoder.contract import cache_names
from beamgen.lora.slots import Slot
from beamgen.search.decoder_copy import DecoderCopier
from beamgen.search.functions import padding
from beamgen.search.functions.library import functions
from beamgen.search.ports import (
    attended_window,
    slot_inputs,
    with_default,
)
from beamgen.tape import Tape

_INT, _FLOAT = ir.DataType.INT64, ir.DataType.FLOAT


def build_step(
    decoder: ir.Model,
    geometry: KVGeometry,
    vocab_size: int,
    attention_window: int | None = None,
    slots: Sequence[Slot] = (),
) -> ir.Model:
    """Put a 2-D mask before a decoder.

    Args:
        decoder: holds ``contract.step_contract``; read, not changed. Its weights are
            shared with the result.
        geometry: the decoder's caches.
        vocab_size: V.
        attention_window: tokens a position sees, itself included, or None.
        slots: the linear layers that take a LoRA; their A and B become inputs too.

    Returns:
        A model of int64 ``input_ids`` and ``position_ids`` ``[batch, new]``,
        ``attention_mask`` ``[batch, attended]`` and float ``past_key_values.0.key ...``
        ``[batch, Hkv, past_len, D]`` -> ``logits`` ``[batch, 1, V]`` of each row's last
        token that is not padding, and ``present.0.key ...``
        ``[batch, Hkv, attended, D]``. The slots' inputs are optional, of rank 0.
    """
    ids = _value("input_ids", _INT, ("batch", "new"))
    mask = _value("attention_mask", _INT, ("batch", "attended"))
    positions = _value("position_ids", _INT, ("batch", "new"))
    heads, width = geometry.num_kv_heads, geometry.head_dim
    past = [
        _value(name, _FLOAT, ("batch", heads, "past_len", width))
        for name in cache_names("past_key_values", geometry)
    ]
    lora = slot_inputs(slots, 1)
    tape = Tape("step")
    copy = DecoderCopier(decoder.graph, lora)
    outputs = "attention_bias last"
    if attention_window is None:
        bias, last = tape.call(padding.masked_step, ids, mask, outputs=outputs)
    else:
        window = attended_window(tape, attention_window)
        bias, last = tape.call(padding.windowed_step, ids, mask, window, outputs=outputs)
    feeds = {value.name or "": value for value in (ids, positions, *past)}
    logits, present = copy(tape.section("decoder"), {**feeds, "attention_bias": bias, "last": last})
    _declare(logits, "logits", ("batch", 1, vocab_size))
    for value, name in zip(present, cache_names("present", geometry), strict=True):
        _declare(value, name, ("batch", heads, "attended", width))
    graph = ir.Graph(
        [ids, mask, positions, *past, *lora.values()],
        [logits, *present],
        nodes=tape.nodes,
        initializers=[*copy.weights, *with_default(lora.values()), *tape.initializers],
        opset_imports=decoder.opset_imports,
        name="decoder_step",
    )
    return ir.Model(
        graph,
        ir_version=decoder.ir_version,
        producer_name="beamgen",
        functions=[*decoder.functions.values(), *functions(padding)],
    )


def _value(name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))


def _declare(value: ir.Value, name: str, shape: Sequence[int | str]) -> None:
    value.name, value.dtype, value.shape = name, _FLOAT, ir.Shape(shape)
