"""Positions of the entries in a cache, for decoders that ask how far a token sees.

Windows of single layers and ALiBi's distances are differences of positions. Most models
count text alone; those that take no position_ids from ``generate`` count slots, so that
padding shifts what follows.

Letters: B batch, K beams, S prompt length, N new positions, C entries attended, T = P + N.
"""

from __future__ import annotations

from onnxscript import INT64, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def text_positions(slot, attention_bias, prompt, prompt_len):
    """Positions in the text, of the entries that a step attends to.

    slot ``[B, .]``, whose first C entries are attended, attention_bias ``[B, 1, N, C]``
    and prompt ``[B, S]``, read for their shapes, prompt_len ``[B, 1]`` without padding.

    Returns: key_positions ``[B, C]``, below 0 on padding.
    """
    attended = op.Shape(attention_bias, start=3)
    held = op.Slice(slot, op.Constant(value_ints=[0]), attended, op.Constant(value_ints=[1]))
    padding = op.Shape(prompt, start=1) - prompt_len
    return held - padding


@script(beamgen_ops, default_opset=op)
def slot_positions(slot, attention_bias, new_ids):
    """Positions that count padding, of a step's tokens and of what they attend to.

    slot and attention_bias as in ``text_positions``, new_ids ``[B, N]``.

    Returns: position_ids ``[B, N]``, key_positions ``[B, C]``.
    """
    attended = op.Shape(attention_bias, start=3)
    axis = op.Constant(value_ints=[1])
    key_positions = op.Slice(slot, op.Constant(value_ints=[0]), attended, axis)
    first_new = attended - op.Shape(new_ids, start=1)
    position_ids = op.Slice(slot, first_new, attended, axis)
    return position_ids, key_positions


@script(beamgen_ops, default_opset=op)
def attended_slots(slot, attention_bias):
    """The slots of the entries that a step attends to; both as in ``text_positions``.

    Returns: key_slots ``[B, C]``.
    """
    attended = op.Shape(attention_bias, start=3)
    return op.Slice(slot, op.Constant(value_ints=[0]), attended, op.Constant(value_ints=[1]))


@script(beamgen_ops, default_opset=op)
def masked_positions(attention_mask):
    """Positions in the text behind a mask ``[B, T]``, wherever its padding is.

    Returns: key_positions ``[B, T]``.
    """
    return op.CumSum(attention_mask, op.Constant(value_int=1)) - 1


@script(beamgen_ops, default_opset=op)
def copied_text_positions(attention_mask, key_rows):
    """Positions in the text, of the rows that the operator's copies stand for.

    attention_mask int32 ``[B*K, T]``, key_rows ``[B']``.

    Returns: key_positions int64 ``[B', T]``.
    """
    rows = op.Gather(op.Cast(attention_mask, to=INT64.dtype), key_rows, axis=0)
    return op.CumSum(rows, op.Constant(value_int=1)) - 1


@script(beamgen_ops, default_opset=op)
def copied_slot_positions(attention_mask, key_rows, new_ids):
    """Positions that count padding, of the rows that the operator's copies stand for.

    attention_mask int32 ``[B*K, T]``, key_rows ``[B']``, new_ids ``[B', N]``.

    Returns: position_ids int64 ``[B', N]``, key_positions ``[B', T]``.
    """
    total = op.Shape(attention_mask, start=1)
    place = op.Unsqueeze(op.Range(0, op.Squeeze(total), 1), [0])  # [1, T]
    key_positions = op.Expand(place, op.Concat(op.Shape(key_rows), total, axis=0))
    first_new = total - op.Shape(new_ids, start=1)
    position_ids = op.Slice(key_positions, first_new, total, op.Constant(value_ints=[1]))
    return position_ids, key_positions
