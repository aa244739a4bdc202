"""The tree cache: no beam is ever copied.

The prompt is computed and stored once per row. Each step appends the K tokens of
the K running beams to one cache per row; ``visible [B, K, C]`` says which of its
C entries each running beam sees. Choosing beams is gathering rows of ``visible``,
and an entry that no beam sees any more is dropped, so that the cache stays near
one sequence long: beams share their ancestors.

Letters: B batch, K beams, S prompt length, C entries, t tokens generated.
"""

from __future__ import annotations

from onnxscript import BOOL, FLOAT, INT64, UINT8, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops

#: The most negative float32, which HF masks with too (`torch.finfo(dtype).min`).
MASKED = -3.4028234663852886e38


@script(beamgen_ops, default_opset=op)
def prompt_inputs(input_ids, attention_mask, attention_window):
    """What the prompt pass needs of a left-padded prompt ``[B, S]``.

    Returns:
        position_ids ``[B, S]`` (masked positions are 1, as in HF),
        attention_bias ``[B, 1, S, S]``: causal, within the window, no padding,
        prompt_len ``[B, 1]`` without padding.

    Source: ``GenerationMixin.prepare_inputs_for_generation`` (position ids),
    ``transformers/masking_utils.py`` (``sliding_window_overlay``).
    """
    is_padding = attention_mask == 0
    position = op.CumSum(attention_mask, op.Constant(value_int=1)) - 1
    position_ids = op.Where(is_padding, 1, position)
    slot = op.Range(0, op.Squeeze(op.Shape(input_ids, start=1)), 1)
    distance = op.Unsqueeze(slot, [1]) - op.Unsqueeze(slot, [0])  # [S, S], query - key
    out_of_reach = op.Or(distance < 0, distance >= attention_window)
    hidden = op.Or(out_of_reach, op.Unsqueeze(is_padding, [1, 2]))  # [B, 1, S, S]
    attention_bias = op.Where(hidden, op.Constant(value_float=MASKED), 0.0)
    return position_ids, attention_bias, op.ReduceSum(attention_mask, [1])


@script(beamgen_ops, default_opset=op)
def identity_blocks(beams):
    """Beams ``[B, K]``, read for their shape -> bool ``[B, K, K]``, true on the diagonal."""
    beam = op.Range(0, op.Squeeze(op.Shape(beams, start=1)), 1)
    same = op.Equal(op.Unsqueeze(beam, [0, 1]), op.Unsqueeze(beam, [0, 2]))  # [1, K, K]
    return op.Expand(same, op.Concat(op.Shape(beams), op.Shape(beams, start=1), axis=0))


@script(beamgen_ops, default_opset=op)
def first_entries(beams):
    """The entries that the first decoder step will append: each beam sees its own.

    beams ``[B, K]``, read for their shape -> visible ``[B, K, K]``, birth ``[B, K]``.
    """
    birth = op.Expand(op.Constant(value_int=0), op.Shape(beams))
    return beamgen_ops.identity_blocks(beams), birth


@script(beamgen_ops, default_opset=op)
def step_inputs(running_tokens, visible, birth, attention_mask, prompt_len, attention_window):
    """What a decoder step needs of the running beams ``[B, K, t]``.

    visible ``[B, K, C]`` includes the K entries this step appends; birth
    ``[B, C]`` is the step at which each entry was generated, from 0.

    Returns:
        input_ids ``[B, K]``, position_ids ``[B, K]``,
        attention_bias ``[B, 1, K, S + C]``.
    """
    input_ids = beamgen_ops.last_tokens(running_tokens)
    now = op.Shape(running_tokens, start=2) - 1  # [1], birth of the entries to come
    position_ids = op.Expand(prompt_len + now, op.Shape(input_ids))
    prompt_size = op.Shape(attention_mask, start=1)
    slot = op.Range(0, op.Squeeze(prompt_size), 1)
    prompt_near = prompt_size + now - slot < attention_window  # [S]
    prompt_seen = op.Unsqueeze(op.And(attention_mask != 0, prompt_near), [1])  # [B, 1, S]
    shape = op.Concat(op.Shape(input_ids), prompt_size, axis=0)
    near = op.Unsqueeze(now - birth < attention_window, [1])  # [B, 1, C]
    seen = op.Concat(op.Expand(prompt_seen, shape), op.And(visible, near), axis=2)
    hidden = op.Not(op.Unsqueeze(seen, [1]))  # [B, 1, K, S + C]
    attention_bias = op.Where(hidden, op.Constant(value_float=MASKED), 0.0)
    return input_ids, position_ids, attention_bias


@script(beamgen_ops, default_opset=op)
def live_entries(visible, birth, beams):
    """Which cache entries the chosen beams still see, and who sees what of them.

    visible ``[B, K, C]``, birth ``[B, C]``, beams ``[B, K]`` the parents of the
    next running beams.

    Returns:
        index ``[B, C']`` of the entries kept (C' is the largest number of live
        ones in any row), visible ``[B, K, C' + K]`` and birth ``[B, C' + K]`` of
        the next step, whose own K entries come last.
    """
    inherited = beamgen_ops.gather_beams(op.Cast(visible, to=UINT8.dtype), beams)  # [B, K, C] uint8
    alive = op.Cast(op.ReduceMax(inherited, [1], keepdims=0), to=FLOAT.dtype)  # [B, C]
    count = op.ReduceMax(op.ReduceSum(alive, [1], keepdims=0), keepdims=1)  # [1]
    _, index = op.TopK(alive, op.Cast(count, to=INT64.dtype), axis=1)
    shape = op.Concat(op.Shape(visible, end=2), op.Shape(index, start=1), axis=0)
    kept = op.GatherElements(inherited, op.Expand(op.Unsqueeze(index, [1]), shape), axis=2)
    next_visible = op.Concat(
        op.Cast(kept, to=BOOL.dtype), beamgen_ops.identity_blocks(beams), axis=2
    )
    newest = op.ReduceMax(birth, [1]) + 1  # [B, 1]
    next_birth = op.Concat(
        op.GatherElements(birth, index, axis=1), op.Expand(newest, op.Shape(beams)), axis=1
    )
    return index, next_visible, next_birth


@script(beamgen_ops, default_opset=op)
def gather_entries(cache, index):
    """Cache ``[B, Hkv, C, D]``, index ``[B, C']`` -> ``[B, Hkv, C', D]``."""
    one = op.Constant(value_ints=[1])
    shape = op.Concat(op.Shape(cache, end=2), op.Shape(index, start=1), one, axis=0)
    index4 = op.Expand(op.Unsqueeze(index, [1, 3]), shape)  # [B, Hkv, C', 1]
    return op.GatherND(cache, index4, batch_dims=2)
