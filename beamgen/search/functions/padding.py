"""What a decoder step needs of a 2-D attention mask, wherever its padding is.

Letters: B batch, N new positions, P cached, T = P + N.
"""

# mypy: ignore-errors
# (onnxscript compiles these functions from their source: operators take graph values
# and Python literals alike, which no Python type says)

from __future__ import annotations

from onnxscript import opset23 as op
from onnxscript import script

from beamgen.onnx_domain import beamgen_ops
from beamgen.search.functions.tree_cache import MASKED


@script(beamgen_ops, default_opset=op)
def masked_step(input_ids, attention_mask):
    """The mask of a step as the decoder's own inputs.

    input_ids ``[B, N]``, read for its shape, attention_mask int64 ``[B, T]``, 0 on
    padding left, right or in between.

    Returns:
        attention_bias ``[B, 1, N, T]``: causal, no padding, and last ``[B]``, the last
        of the new tokens that is not padding.
    """
    total = op.Shape(attention_mask, start=1)
    new = op.Shape(input_ids, start=1)
    slot = op.Range(0, op.Squeeze(total), 1)  # [T]
    own = op.Slice(slot, op.Neg(new), total, op.Constant(value_ints=[0]))  # [N]
    is_later = op.Unsqueeze(own, [1]) < op.Unsqueeze(slot, [0])  # [N, T]
    is_padding = op.Unsqueeze(attention_mask == 0, [1, 2])
    hidden = op.Or(is_later, is_padding)  # [B, 1, N, T]
    attention_bias = op.Where(hidden, op.Constant(value_float=MASKED), 0.0)
    rest = op.Slice(attention_mask, op.Neg(new), total, op.Constant(value_ints=[1]))  # [B, N]
    place = op.Range(0, op.Squeeze(new), 1)
    last = op.ReduceMax(op.Where(rest == 0, 0, place), [1], keepdims=0)  # [B]
    return attention_bias, last


@script(beamgen_ops, default_opset=op)
def windowed_step(input_ids, attention_mask, attention_window):
    """The mask of a step whose tokens see themselves and ``attention_window [1]`` - 1 before.

    Inputs and results are those of ``masked_step``. Padding does not count: on the right
    it stands between a prompt and what is generated, where HF, which pads on the left,
    has no gap.

    Source: ``transformers/masking_utils.py`` (``sliding_window_overlay``).
    """
    causal_bias, last = beamgen_ops.masked_step(input_ids, attention_mask)
    position = op.CumSum(attention_mask, op.Constant(value_int=1))  # [B, T]
    new = op.Shape(input_ids, start=1)
    total = op.Shape(attention_mask, start=1)
    own = op.Slice(position, op.Neg(new), total, op.Constant(value_ints=[1]))  # [B, N]
    distance = op.Unsqueeze(own, [1, 3]) - op.Unsqueeze(position, [1, 2])  # query - key
    near = distance < attention_window
    attention_bias = op.Where(near, causal_bias, op.Constant(value_float=MASKED))
    return attention_bias, last
