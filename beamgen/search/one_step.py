"""A decoder step alone, in the layout that runtimes with a search of their own take."""

from __future__ import annotations

import onnx_ir as ir

from beamgen.decoder.contract import KEY_POSITIONS, cache_names
from beamgen.decoder.graph import DecoderGraph
from beamgen.search.decoder_copy import DecoderCopier
from beamgen.search.functions import entry_positions, padding
from beamgen.search.functions.library import functions
from beamgen.search.ports import (
    attended_window,
    declare,
    slot_inputs,
    typed,
    with_default,
)
from beamgen.tape import Tape

_FLOAT = ir.DataType.FLOAT


def build_step(decoder: DecoderGraph) -> ir.Model:
    """Put a 2-D mask before a decoder.

    Args:
        decoder: holds ``contract.step_contract``; read, not changed. Its weights are
            shared with the result, and its slots become inputs.

    Returns:
        A model of int64 ``input_ids`` and ``position_ids`` ``[batch, new]``,
        ``attention_mask`` ``[batch, attended]`` and float ``past_key_values.0.key ...``
        ``[batch, Hkv, past_len, D]`` -> ``logits`` ``[batch, 1, V]`` of each row's last
        token that is not padding, and ``present.0.key ...``
        ``[batch, Hkv, attended, D]``. The slots' inputs are optional, of rank 0.
    """
    geometry = decoder.geometry
    ids = _tokens("input_ids", "new")
    mask = _tokens("attention_mask", "attended")
    positions = _tokens("position_ids", "new")
    heads, widths = geometry.num_kv_heads, geometry.widths * geometry.num_layers
    past = [
        typed(name, _FLOAT, "batch", heads, "past_len", width)
        for name, width in zip(cache_names("past_key_values", geometry), widths, strict=True)
    ]
    lora = slot_inputs(decoder.slots, 1)
    tape = Tape("step")
    copy = DecoderCopier(decoder.model.graph, lora)
    if decoder.attention_window is None:
        masked = tape.call(padding.masked_step, ids, mask)
    else:
        window = attended_window(tape, decoder.attention_window)
        masked = tape.call(padding.windowed_step, ids, mask, window)
    feeds = {value.name or "": value for value in (ids, positions, *past)} | dict(masked.items())
    if decoder.reads_key_positions:
        feeds[KEY_POSITIONS] = tape.value(entry_positions.masked_positions, mask)
    logits, present = copy(tape.section("decoder"), feeds)
    declare(logits, "logits", _FLOAT, "batch", 1, decoder.vocab_size)
    for value, name, width in zip(present, cache_names("present", geometry), widths, strict=True):
        declare(value, name, _FLOAT, "batch", heads, "attended", width)
    modules = [padding, *([entry_positions] if decoder.reads_key_positions else [])]
    graph = ir.Graph(
        [ids, mask, positions, *past, *lora.values()],
        [logits, *present],
        nodes=tape.nodes,
        initializers=[*copy.weights, *with_default(lora.values()), *tape.initializers],
        opset_imports=decoder.model.opset_imports,
        name="decoder_step",
    )
    return ir.Model(
        graph,
        ir_version=decoder.model.ir_version,
        producer_name="beamgen",
        functions=[*decoder.model.functions.values(), *functions(*modules)],
    )


def _tokens(name: str, length: str) -> ir.Value:
    return typed(name, ir.DataType.INT64, "batch", length)
