"""What logits processors call, and what decides whether any has work.

The processors themselves stand in ``beamgen.settings.processors``, each with its setting.
They take scores ``[B, n, V]`` and give them back changed; n is K, or 1 while every beam is
still the prompt. ``history [B, n, T]`` holds the ids so far as HF sees them: prompt, its
padding included, and generated tokens. ``generated_len [1]`` counts the tokens before the
one to come. Parameters come as ``[1]`` or ``[B]``; lists of ids as ``[n]``, off when empty;
lists of sequences as ``[n, m]``, aligned on the right and filled with -1.

Source: ``transformers/generation/logits_process.py``.
"""

from __future__ import annotations

from onnxscript import FLOAT, INT64, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def anywhere(condition):
    """Whether a bool tensor of any shape, an empty one too, holds a true: a scalar."""
    return op.ReduceSum(op.Cast(condition, to=INT64.dtype), keepdims=0) > 0


@script(beamgen_ops, default_opset=op)
def have_work(in_use, min_new_tokens, generated_len):
    """Whether any processor has work in this step: a scalar."""
    return op.Or(in_use, beamgen_ops.anywhere(min_new_tokens > generated_len))


@script(beamgen_ops, default_opset=op)
def token_history(scores, input_ids, running_tokens):
    """The ids before the token to come, ``[B, n, S + t]``.

    scores ``[B, n, V]``, read for its n; input_ids ``[B, S]``, running_tokens ``[B, K, t]``.
    """
    beams = op.Shape(scores, start=1, end=2)
    shape = op.Concat(op.Shape(scores, end=2), op.Shape(input_ids, start=1), axis=0)
    prompt = op.Expand(op.Unsqueeze(input_ids, [1]), shape)  # [B, n, S]
    running = op.Slice(running_tokens, [0], beams, [1])
    return op.Concat(prompt, running, axis=2)


@script(beamgen_ops, default_opset=op)
def add_to_tokens(scores, token_ids, addends):
    """Scores ``[B, n, V]`` + addends ``[B or 1, n or 1, m]`` at token ids of the same shapes."""
    shape = op.Concat(op.Shape(scores, end=2), op.Shape(token_ids, start=2), axis=0)
    index = op.Expand(token_ids, shape)
    return op.ScatterElements(scores, index, op.Expand(addends, shape), axis=2, reduction="add")


@script(beamgen_ops, default_opset=op)
def ban(scores, token_ids, banned):
    """-inf, whatever stood there, on the token ids ``[B, n, m]`` for which banned holds."""
    nowhere = op.Expand(op.Constant(value_float=0.0), op.Shape(scores))
    hits = op.Cast(banned, to=FLOAT.dtype)
    places = op.ScatterElements(nowhere, token_ids, hits, axis=2, reduction="max")
    return op.Where(places > 0.0, op.Constant(value_float=float("-inf")), scores)


@script(beamgen_ops, default_opset=op)
def suppress(scores, token_ids, now):
    """-inf on token_ids ``[m]`` in the rows for which now ``[B or 1]`` holds."""
    shape = op.Concat(op.Shape(scores, end=2), op.Shape(token_ids), axis=0)
    index = op.Expand(op.Reshape(token_ids, [1, 1, -1]), shape)
    before = op.GatherElements(scores, index, axis=2)  # [B, n, m]
    banned = op.Constant(value_float=float("-inf"))
    after = op.Where(op.Reshape(now, [-1, 1, 1]), banned, before)
    return op.ScatterElements(scores, index, after, axis=2)


@script(beamgen_ops, default_opset=op)
def ends_with(history, sequences):
    """Which sequences ``[m, L]`` the next token could complete, ``[B, n, m]``.

    Their last token is the one to come; those before it have to end the history.
    As in HF, a sequence longer than the history is passed over.
    """
    longest = op.Shape(sequences, start=1)
    rows = op.Shape(history, end=2)
    # -2 equals no id, so that a sequence does not reach before the first one
    before = op.Expand(op.Constant(value_int=-2), op.Concat(rows, longest, axis=0))
    padded = op.Concat(before, history, axis=2)
    minus = op.Constant(value_ints=[1]) - longest  # 1 - L: the last L - 1 of them
    size = op.Shape(padded, start=2)
    tail = op.Slice(padded, size + minus, size, [2])  # [B, n, L - 1]
    prefix = op.Slice(sequences, [0], [-1], [1])  # [m, L - 1]
    same = op.Equal(op.Unsqueeze(tail, [2]), op.Unsqueeze(prefix, [0, 1]))
    anything = op.Unsqueeze(prefix < 0, [0, 1])
    mismatch = op.Not(op.Or(same, anything))  # [B, n, m, L - 1]
    mismatches = op.ReduceSum(op.Cast(mismatch, to=INT64.dtype), [3], keepdims=0)
    lengths = op.ReduceSum(op.Cast(sequences >= 0, to=INT64.dtype), [1], keepdims=0)
    short = op.And(lengths > 0, lengths <= op.Shape(history, start=2))  # [m]
    return op.And(mismatches == 0, op.Unsqueeze(short, [0, 1]))


@script(beamgen_ops, default_opset=op)
def last_of_sequences(sequences):
    """The last token of sequences ``[m, L]``, as ``[1, 1, m]``."""
    return op.Reshape(op.Slice(sequences, [-1], [9223372036854775807], [1]), [1, 1, -1])


@script(beamgen_ops, default_opset=op)
def completes_ngram(history, ngram_size):
    """Which tokens of the history ``[B, n, T]`` end an n-gram that the next one would end again.

    The token at w does where the n - 1 tokens before it are the last n - 1. None does where
    ngram_size, ``[1]`` or ``[B]``, is 0.
    """
    longest = op.ReduceMax(ngram_size, keepdims=1)  # [1]
    size = op.Reshape(ngram_size, [-1, 1, 1])
    length = op.Shape(history, start=2)
    zero = op.Constant(value_ints=[0])
    # of tokens further back than the history is long none is needed
    reach = op.Max(op.Min(longest - 1, length - 1), zero)  # [1]
    back = op.Range(0, op.Squeeze(reach), 1) + 1  # [j] = 1 ... n - 1
    place = op.Range(0, op.Squeeze(length), 1)  # [T]
    source = op.Unsqueeze(place, [1]) - back  # [T, j], the jth token before each place
    exists = source >= 0
    before = op.Gather(history, op.Where(exists, source, 0), axis=2)  # [B, n, T, j]
    last = op.Gather(history, length - back, axis=2)  # [B, n, j]
    same = op.And(op.Equal(before, op.Unsqueeze(last, [2])), exists)
    # how many of the last tokens, counted from the end, stand before each place
    unlike = op.CumSum(op.Cast(op.Not(same), to=INT64.dtype), op.Constant(value_int=3))
    run = op.ReduceSum(op.Cast(unlike == 0, to=INT64.dtype), [3], keepdims=0)  # [B, n, T]
    return op.And(run >= size - 1, size > 0)


@script(beamgen_ops, default_opset=op)
def force(scores, token_ids, now):
    """0 on token_ids ``[m]`` and -inf elsewhere, in the rows for which now ``[B or 1]`` holds."""
    vocabulary = op.Range(0, op.Squeeze(op.Shape(scores, start=2)), 1)  # [V]
    is_forced = op.Equal(op.Unsqueeze(vocabulary, [1]), op.Unsqueeze(token_ids, [0]))
    among = op.ReduceSum(op.Cast(is_forced, to=INT64.dtype), [1], keepdims=0) > 0  # [V]
    forced = op.Where(among, 0.0, op.Constant(value_float=float("-inf")))
    return op.Where(op.Reshape(now, [-1, 1, 1]), op.Unsqueeze(forced, [0, 1]), scores)
