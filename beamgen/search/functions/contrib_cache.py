"""What the decoder needs of the inputs that BeamSearch gives its subgraph.

The operator repeats each prompt once per beam before the first step. Here the copies are
undone for the prompt pass: the prompt is computed once per row, and only its keys and
values are repeated.

Letters: B batch, K beams, N new positions, P cached, T = P + N.
"""

from __future__ import annotations

from onnxscript import BOOL, INT64, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops
from beamgen.search.functions.tree_cache import MASKED


@script(beamgen_ops, default_opset=op)
def op_inputs(ids, attention_mask, past, num_beams, attention_window):
    """The inputs that the operator gives its subgraph, as the decoder's.

    ids int32 ``[B*K, N]``, attention_mask int32 ``[B*K, T]``, past ``[2, B*K, Hkv,
    P, D]``, read for its shape, num_beams and attention_window int64 ``[1]``. The operator's
    own position_ids are not used: it counts ids that differ from pad_token_id, mask or
    not, so that an EOS or pad id within a prompt shifts all that follow.

    Returns:
        input_ids and position_ids int64 ``[B', N]``, attention_bias ``[B', 1, N, T]``,
        row_of_copy ``[B*K]``, key_rows and value_rows ``[B']`` and flat_shape ``[4]``:
        B' is B in the prompt pass, and B*K later.

    Source: ``CreateGptInputs`` of generation_device_helper.cc, ``ExpandInputs``, which
    repeats a row K times side by side, and ``UpdateGptFeeds`` for later steps;
    ``GenerationMixin.prepare_inputs_for_generation`` for the positions.
    """
    cached = op.Shape(past, start=3, end=4)  # [1]
    copies = op.Where(cached == 0, num_beams, op.Constant(value_ints=[1]))
    zero, last = op.Constant(value_ints=[0]), op.Constant(value_ints=[2147483647])
    input_ids = op.Slice(op.Cast(ids, to=INT64.dtype), zero, last, zero, copies)
    mask = op.Cast(op.Slice(attention_mask, zero, last, zero, copies), to=BOOL.dtype)
    is_padding = op.Not(mask)  # [B', T]
    position = op.CumSum(op.Cast(mask, to=INT64.dtype), op.Constant(value_int=1)) - 1
    every = op.Where(is_padding, 1, position)
    position_ids = op.Slice(every, cached, last, op.Constant(value_ints=[1]))
    rows = op.Shape(ids, end=1)  # [1], B*K
    row = op.Range(0, op.Squeeze(rows), 1)
    key_rows = op.Slice(row, zero, last, zero, copies)
    total = op.Shape(attention_mask, start=1)
    flat_shape = op.Concat(
        op.Constant(value_ints=[-1]),
        op.Shape(past, start=2, end=3),
        total,
        op.Shape(past, start=4),
        axis=0,
    )
    slot = op.Range(0, op.Squeeze(total), 1)  # [T]
    own = cached + op.Range(0, op.Squeeze(op.Shape(ids, start=1)), 1)  # [N]
    distance = op.Unsqueeze(own, [1]) - op.Unsqueeze(slot, [0])  # [N, T], query - key
    out_of_reach = op.Or(distance < 0, distance >= attention_window)
    hidden = op.Or(out_of_reach, op.Unsqueeze(is_padding, [1, 2]))  # [B', 1, N, T]
    attention_bias = op.Where(hidden, op.Constant(value_float=MASKED), 0.0)
    row_of_copy = row / copies
    value_rows = key_rows + rows
    return input_ids, position_ids, attention_bias, row_of_copy, key_rows, value_rows, flat_shape
