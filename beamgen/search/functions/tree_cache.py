"""The tree cache: no beam is ever copied.

One cache per row holds the prompt, computed and stored once, and what was generated
since. Each step appends the K tokens of the K running beams; ``visible [B, K, C]``
says which of its C entries each running beam sees. Choosing beams is gathering rows
of ``visible``. Every few steps the entries that no beam sees any more are dropped, so
that the cache stays near one sequence long: beams share their ancestors.

An entry's slot is its place in the left-padded sequence: 0 to S - 1 in the prompt, S
for the first generated token. Sliding windows count slots, as HF's do.

Letters: B batch, K beams, S prompt length, C entries, E of them in the cache, t tokens
generated.
"""

from __future__ import annotations

from onnxscript import BOOL, FLOAT, INT64, UINT8, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops

#: The most negative float32, which HF masks with too (`torch.finfo(dtype).min`).
MASKED = -3.4028234663852886e38


@script(beamgen_ops, default_opset=op)
def prompt_entries(input_ids, attention_mask, num_beams):
    """The entries that the prompt pass will append, for a left-padded prompt ``[B, S]``.

    num_beams ``[1]``.

    Returns:
        visible ``[B, K, S]``: every beam sees the prompt without its padding,
        slot ``[B, S]``, prompt_len ``[B, 1]`` without padding.
    """
    shape = op.Concat(op.Shape(input_ids, end=1), num_beams, op.Shape(input_ids, start=1), axis=0)
    visible = op.Expand(op.Unsqueeze(attention_mask != 0, [1]), shape)
    place = op.Range(0, op.Squeeze(op.Shape(input_ids, start=1)), 1)
    slot = op.Expand(place, op.Shape(input_ids))
    prompt_len = op.ReduceSum(attention_mask, [1])
    return visible, slot, prompt_len


@script(beamgen_ops, default_opset=op)
def prompt_inputs(prompt, attention_mask, attention_window):
    """What the prompt pass needs of a left-padded prompt ``[B, S]``.

    Returns:
        input_ids ``[B, S]``, position_ids ``[B, S]`` (masked positions are 1, as in HF),
        attention_bias ``[B, 1, S, S]``: causal, within the window, no padding,
        last_n, a scalar 1: only the last position's logits are wanted.

    Source: ``GenerationMixin.prepare_inputs_for_generation`` (position ids),
    ``transformers/masking_utils.py`` (``sliding_window_overlay``).
    """
    is_padding = attention_mask == 0
    position = op.CumSum(attention_mask, op.Constant(value_int=1)) - 1
    position_ids = op.Where(is_padding, 1, position)
    slot = op.Range(0, op.Squeeze(op.Shape(prompt, start=1)), 1)
    distance = op.Unsqueeze(slot, [1]) - op.Unsqueeze(slot, [0])  # [S, S], query - key
    out_of_reach = op.Or(distance < 0, distance >= attention_window)
    hidden = op.Or(out_of_reach, op.Unsqueeze(is_padding, [1, 2]))  # [B, 1, S, S]
    attention_bias = op.Where(hidden, op.Constant(value_float=MASKED), 0.0)
    input_ids = op.Identity(prompt)
    last_n = op.Constant(value_int=1)
    return input_ids, position_ids, attention_bias, last_n


@script(beamgen_ops, default_opset=op)
def identity_blocks(beams):
    """Bool ``[B, K, K]``, true on the diagonal: each of beams ``[B, K]`` sees its own entry."""
    beam = op.Range(0, op.Squeeze(op.Shape(beams, start=1)), 1)
    same = op.Equal(op.Unsqueeze(beam, [0, 1]), op.Unsqueeze(beam, [0, 2]))  # [1, K, K]
    return op.Expand(same, op.Concat(op.Shape(beams), op.Shape(beams, start=1), axis=0))


@script(beamgen_ops, default_opset=op)
def step_inputs(running_tokens, visible, slot, prompt_len, attention_window):
    """What a decoder step needs of the running beams ``[B, K, t]``.

    visible ``[B, K, C]`` and slot ``[B, C]`` include the K entries this step appends.

    Returns:
        input_ids ``[B, K]``, position_ids ``[B, K]``, attention_bias ``[B, 1, K, C]``,
        last_n, a scalar K: every beam's logits are wanted.
    """
    input_ids = beamgen_ops.last_tokens(running_tokens)
    generated = op.Shape(running_tokens, start=2)
    position_ids = op.Expand(prompt_len + generated - 1, op.Shape(input_ids))
    seen = beamgen_ops.within_window(visible, slot, attention_window)
    hidden = op.Not(op.Unsqueeze(seen, [1]))
    attention_bias = op.Where(hidden, op.Constant(value_float=MASKED), 0.0)
    last_n = op.Squeeze(op.Shape(running_tokens, start=1, end=2))
    return input_ids, position_ids, attention_bias, last_n


@script(beamgen_ops, default_opset=op)
def within_window(visible, slot, attention_window):
    """What is visible ``[B, K, C]``, less what the newest entry's window leaves behind."""
    now = op.ReduceMax(slot, [1])  # [B, 1]
    return op.And(visible, op.Unsqueeze(now - slot < attention_window, [1]))


@script(beamgen_ops, default_opset=op)
def next_entries(visible, slot, beams):
    """Who sees what after a choice, with the K entries to come.

    visible ``[B, K, C]``, slot ``[B, C]``, beams ``[B, K]`` the parents of the next
    running beams -> next_visible ``[B, K, C + K]``, next_slot ``[B, C + K]``.
    """
    inherited = beamgen_ops.gather_beams(op.Cast(visible, to=UINT8.dtype), beams)
    own = beamgen_ops.identity_blocks(beams)
    newest = op.ReduceMax(slot, [1]) + 1  # [B, 1]
    next_visible = op.Concat(op.Cast(inherited, to=BOOL.dtype), own, axis=2)
    next_slot = op.Concat(slot, op.Expand(newest, op.Shape(beams)), axis=1)
    return next_visible, next_slot


@script(beamgen_ops, default_opset=op)
def live_entries(visible, slot, attention_window):
    """Which of the E entries in the cache some beam still sees, and who sees what of them.

    visible ``[B, K, E + K]``, slot ``[B, E + K]``: the last K entries are those to come.

    Returns:
        live_index ``[B, E']`` of the entries kept (E' is the largest number of live ones
        in any row), next_visible ``[B, K, E' + K]`` and next_slot ``[B, E' + K]``.
    """
    zero = op.Constant(value_ints=[0])
    last = op.Constant(value_ints=[9223372036854775807])
    two = op.Constant(value_ints=[2])
    cached = op.Shape(slot, start=1) - op.Shape(visible, start=1, end=2)  # [1], E
    seen = op.Cast(beamgen_ops.within_window(visible, slot, attention_window), to=UINT8.dtype)
    held = op.Slice(seen, zero, cached, two)  # [B, K, E]
    alive = op.Cast(op.ReduceMax(held, [1], keepdims=0), to=FLOAT.dtype)  # [B, E]
    count = op.ReduceMax(op.ReduceSum(alive, [1], keepdims=0), keepdims=1)  # [1]
    _, live_index = op.TopK(alive, op.Cast(count, to=INT64.dtype), axis=1)
    shape = op.Concat(op.Shape(visible, end=2), op.Shape(live_index, start=1), axis=0)
    kept = op.GatherElements(held, op.Expand(op.Unsqueeze(live_index, [1]), shape), axis=2)
    coming = op.Slice(visible, cached, last, two)
    next_visible = op.Concat(op.Cast(kept, to=BOOL.dtype), coming, axis=2)
    next_slot = op.Concat(
        op.GatherElements(slot, live_index, axis=1),
        op.Slice(slot, cached, last, op.Constant(value_ints=[1])),
        axis=1,
    )
    return live_index, next_visible, next_slot


@script(beamgen_ops, default_opset=op)
def entries_index(cache, index):
    """An index ``[B, E']`` as ``kept_entries`` takes it, for any cache ``[B, Hkv, ., D]``.

    Returns: ``[B, Hkv, E', 1]``.
    """
    one = op.Constant(value_ints=[1])
    shape = op.Concat(op.Shape(cache, end=2), op.Shape(index, start=1), one, axis=0)
    return op.Expand(op.Unsqueeze(index, [1, 3]), shape)


@script(beamgen_ops, default_opset=op)
def kept_entries(stored, recent, index):
    """Two parts of a cache become one, of the entries that are kept, ``[B, Hkv, E', D]``.

    stored ``[B, Hkv, P, D]``, recent ``[B, Hkv, R, D]``; index ``[B, Hkv, E', 1]`` counts
    through both.
    """
    return op.GatherND(op.Concat(stored, recent, axis=2), index, batch_dims=2)
