"""Requests of unequal length in one batch: what stands before and after a search.

A server that joins requests hands them over one after the other, with the length of
each. Each row comes back as it would come alone.
"""

from __future__ import annotations

from onnxscript import INT64, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def left_padded(tokens, lengths, pad_token_id):
    """Prompts that follow one another ``[N]``, of lengths ``[B, 1]``, as rows.

    Returns: input_ids and attention_mask, int64 ``[B, S]``.
    """
    ends = op.CumSum(lengths, op.Constant(value_int=0))  # [B, 1]
    longest = op.ReduceMax(lengths, keepdims=0)
    place = op.Range(op.Neg(longest), 0, 1)  # [S], counted from the end of a row
    is_text = op.GreaterOrEqual(place, op.Neg(lengths))  # [B, S]
    index = op.Where(is_text, op.Add(ends, place), op.Constant(value_int=0))
    input_ids = op.Where(is_text, op.Gather(tokens, index), pad_token_id)
    attention_mask = op.Cast(is_text, to=INT64.dtype)
    return input_ids, attention_mask


@script(beamgen_ops, default_opset=op)
def right_padded(tokens, lengths, pad_token_id):
    """Sources that follow one another ``[N]``, of lengths ``[B, 1]``, as rows.

    An encoder may count positions from a row's first token, so that padding stands behind.

    Returns: input_ids and attention_mask, int64 ``[B, S]``.
    """
    begins = op.Sub(op.CumSum(lengths, op.Constant(value_int=0)), lengths)  # [B, 1]
    place = op.Range(0, op.ReduceMax(lengths, keepdims=0), 1)  # [S]
    is_text = op.Less(place, lengths)  # [B, S]
    index = op.Where(is_text, op.Add(begins, place), op.Constant(value_int=0))
    input_ids = op.Where(is_text, op.Gather(tokens, index), pad_token_id)
    attention_mask = op.Cast(is_text, to=INT64.dtype)
    return input_ids, attention_mask


@script(beamgen_ops, default_opset=op)
def left_aligned(sequences, lengths, fill_token_id):
    """Take the padding away from before sequences ``[B, R, T]`` and fill behind them.

    Args: lengths ``[B, 1]`` of the prompts; fill_token_id ``[1]``.
    """
    total = op.Squeeze(op.Shape(sequences, start=2))
    padding = op.Sub(op.ReduceMax(lengths, keepdims=0), lengths)  # [B, 1]
    place = op.Add(op.Range(0, total, 1), padding)  # [B, T]
    is_kept = op.Less(place, total)
    index = op.Unsqueeze(op.Where(is_kept, place, op.Constant(value_int=0)), [1])
    moved = op.GatherElements(sequences, op.Expand(index, op.Shape(sequences)), axis=2)
    return op.Where(op.Unsqueeze(is_kept, [1]), moved, fill_token_id)
