"""The tree cache: no beam is ever copied.

One cache per row holds the prompt, computed and stored once, and what was generated
since. Each step appends the K tokens of the K running beams; ``visible [B, K, C]``
says which of its C entries each running beam sees. Choosing beams is gathering rows
of ``visible``. Every few steps the entries that no beam sees any more are dropped, so
that the cache stays near one sequence long: beams share their ancestors.

A long prompt goes through the decoder in pieces of one length, the last one perhaps
shorter. Until the last of them is through, ``visible`` and ``slot`` tell of the entries
of the whole prompt, in the cache or not yet.

An entry's slot is its place in the left-padded sequence: 0 to S - 1 in the prompt, S
for the first generated token. Sliding windows count slots, as HF's do.

Letters: B batch, K beams, S prompt length, C entries, E of them in the cache, N tokens of
a piece, t tokens generated.
"""

from __future__ import annotations

from onnxscript import BOOL, FLOAT, INT64, UINT8, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops

#: The most negative float32, which HF masks with too (`torch.finfo(dtype).min`).
MASKED = -3.4028234663852886e38


@script(beamgen_ops, default_opset=op)
def prompt_entries(input_ids, attention_mask, num_beams):
    """The entries that the prompt's passes will append, for a left-padded prompt ``[B, S]``.

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
def prompt_pieces(input_ids, longest):
    """How a prompt ``[B, S]`` is divided into pieces of at most longest tokens, a scalar.

    Returns: pieces, a scalar, their number; piece_len ``[1]``, the length of each but the
    last, which may be shorter. No piece is longer than it has to be.
    """
    one = op.Constant(value_ints=[1])
    prompt_len = op.Shape(input_ids, start=1)
    count = op.Max((prompt_len + longest - 1) / longest, one)
    piece_len = (prompt_len + count - 1) / count
    pieces = op.Squeeze(count)
    return pieces, piece_len


@script(beamgen_ops, default_opset=op)
def chunk_plan(iteration, pieces, steps_per_chunk):
    """What a chunk is for: an iteration of the outer loop; all are scalars.

    Returns: is_prompt, whether it reads a piece of the prompt; decides, whether its steps
    choose tokens, as all do but those of the pieces before the last; most_steps.
    """
    is_prompt = iteration < pieces
    decides = iteration + 1 >= pieces
    most_steps = op.Where(is_prompt, 1, steps_per_chunk)
    return is_prompt, decides, most_steps


@script(beamgen_ops, default_opset=op)
def prompt_inputs(prompt, attention_mask, slot, piece, piece_len, attention_window):
    """What the pass of a piece needs of a left-padded prompt ``[B, S]``.

    slot ``[B, C]``: of the entries in the cache, and of those that the prompt has yet to
    append; piece, a scalar, counts from 0.

    Returns:
        input_ids ``[B, N]``, position_ids ``[B, N]`` (masked positions are 1, as in HF),
        attention_bias ``[B, 1, N, E + N]``: causal, within the window, no padding,
        last_n, a scalar 1: only the last position's logits are wanted,
        seq_len, a scalar: the largest position of the whole prompt, and 1.

    Source: ``GenerationMixin.prepare_inputs_for_generation`` (position ids),
    ``transformers/masking_utils.py`` (``sliding_window_overlay``),
    ``modeling_rope_utils.py`` (seq_len).
    """
    first_entry = op.Reshape(op.ReduceMin(slot, keepdims=0), op.Constant(value_ints=[1]))
    begin = piece * piece_len
    end = begin + piece_len  # of the last piece beyond the prompt, as Slice allows
    axis0, axis1 = op.Constant(value_ints=[0]), op.Constant(value_ints=[1])
    is_padding = attention_mask == 0
    position = op.CumSum(attention_mask, op.Constant(value_int=1)) - 1
    positions = op.Where(is_padding, 1, position)
    place = op.Range(0, op.Squeeze(op.Shape(prompt, start=1)), 1)
    query = op.Unsqueeze(op.Slice(place, begin, end, axis0), [1])  # [N, 1]
    key = op.Unsqueeze(op.Slice(place, first_entry, end, axis0), [0])  # [1, E + N]
    # of all pairs no more than booleans: a matrix of distances would be the largest tensor
    out_of_reach = op.Or(key > query, key <= query - attention_window)  # [N, E + N]
    is_hidden_key = op.Slice(is_padding, first_entry, end, axis1)
    hidden = op.Or(out_of_reach, op.Unsqueeze(is_hidden_key, [1, 2]))  # [B, 1, N, E + N]
    attention_bias = op.Where(hidden, op.Constant(value_float=MASKED), 0.0)
    input_ids = op.Slice(prompt, begin, end, axis1)
    position_ids = op.Slice(positions, begin, end, axis1)
    last_n = op.Constant(value_int=1)
    seq_len = op.ReduceMax(positions, keepdims=0) + 1
    return input_ids, position_ids, attention_bias, last_n, seq_len


@script(beamgen_ops, default_opset=op)
def entries_left_behind(visible, slot, piece, piece_len, attention_window):
    """Which entries no later token of the prompt sees, once a piece is in the cache.

    visible ``[B, K, C]``, slot ``[B, C]``: of what the cache holds, and of those to come.

    Returns: left_behind ``[1]``, the number of entries that the window leaves behind;
    later_visible ``[B, K, C']`` and later_slot ``[B, C']`` of the others.
    """
    first_entry = op.Reshape(op.ReduceMin(slot, keepdims=0), op.Constant(value_ints=[1]))
    next_token = (piece + 1) * piece_len
    left_behind = op.Max(next_token - attention_window + 1 - first_entry, [0])
    last = op.Constant(value_ints=[9223372036854775807])
    later_visible = op.Slice(visible, left_behind, last, op.Constant(value_ints=[2]))
    later_slot = op.Slice(slot, left_behind, last, op.Constant(value_ints=[1]))
    return left_behind, later_visible, later_slot


@script(beamgen_ops, default_opset=op)
def later_entries(stored, recent, left_behind):
    """Two parts of a cache become one, without the first entries, ``[B, Hkv, E', D]``."""
    both = op.Concat(stored, recent, axis=2)
    last = op.Constant(value_ints=[9223372036854775807])
    return op.Slice(both, left_behind, last, op.Constant(value_ints=[2]))


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
        last_n, a scalar K: every beam's logits are wanted,
        seq_len, a scalar: the largest position, and 1.
    """
    input_ids = beamgen_ops.last_tokens(running_tokens)
    generated = op.Shape(running_tokens, start=2)
    position_ids = op.Expand(prompt_len + generated - 1, op.Shape(input_ids))
    seen = beamgen_ops.within_window(visible, slot, attention_window)
    hidden = op.Not(op.Unsqueeze(seen, [1]))
    attention_bias = op.Where(hidden, op.Constant(value_float=MASKED), 0.0)
    last_n = op.Squeeze(op.Shape(running_tokens, start=1, end=2))
    seq_len = op.ReduceMax(position_ids, keepdims=0) + 1
    return input_ids, position_ids, attention_bias, last_n, seq_len


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
