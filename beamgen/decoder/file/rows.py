"""Beams as rows, for decoders whose mask says which tokens are text and no more.

The tree cache holds each entry once, whoever sees it. Such a decoder wants a row for each beam,
whose past is one sequence. So each beam's entries are gathered into the places that ``generate``
would have them in, padding included: whatever a decoder makes of places, it makes of these.

Letters: B batch, K beams, r rows of a batch's row (1 in the prompt, K after), N new entries,
m = N / r new tokens of a row, E entries in the cache, C = E + N, P places before the new tokens.
"""

from __future__ import annotations

from onnxscript import INT64, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def beam_rows(input_ids, attention_bias, key_slots, is_prompt):
    """What each row of the decoder reads, of input_ids ``[B, N]``.

    attention_bias ``[B, 1, N, C]``, key_slots ``[B, C]`` the places of the entries, is_prompt
    a scalar: whether the new tokens follow each other, or are each of a beam of its own.

    Returns:
        ids ``[B*r, m]``, their shape; mask ``[B*r, P+m]``; places ``[m]`` of the new tokens;
        entries ``[B, r, P]``, which entry of the cache each place holds, any where the mask
        is 0.
    """
    zero, one = op.Constant(value_ints=[0]), op.Constant(value_ints=[1])
    new = op.Shape(input_ids, start=1)
    held = op.Shape(attention_bias, start=3) - new  # [1], E
    rows = op.Where(is_prompt, one, new)
    tokens = op.Where(is_prompt, new, one)
    # the last token of a prompt sees all of it but padding
    of_rows = op.Slice(attention_bias, new - rows, new, op.Constant(value_ints=[2]))
    seen = op.Squeeze(of_rows, one) == 0.0  # [B, r, C]
    seen_past, seen_new = op.Split(seen, op.Concat(held, new, axis=0), axis=2)

    slots_past, slots_new = op.Split(key_slots, op.Concat(held, new, axis=0), axis=1)
    first = op.ReduceMin(slots_new, keepdims=0)
    before = op.Reshape(first, one)  # [1], P
    # what a row does not see goes to a place of its own, which is cut off
    place = op.Where(seen_past, op.Unsqueeze(slots_past, one), before)  # [B, r, E]
    entry = op.Expand(op.Range(0, op.Squeeze(held), 1), op.Shape(place))
    nothing = op.Expand(-1, op.Concat(op.Shape(place, end=2), before + 1, axis=0))
    found = op.ScatterElements(nothing, place, entry, axis=2)
    found = op.Slice(found, zero, before, op.Constant(value_ints=[2]))  # [B, r, P]
    entries = op.Max(found, 0)

    all_rows = op.Shape(input_ids, end=1) * rows
    shape = op.Concat(all_rows, tokens, axis=0)
    ids = op.Reshape(input_ids, shape)
    is_past = op.Reshape(found >= 0, op.Concat(all_rows, before, axis=0), allowzero=1)
    # a piece of a prompt may have padding; a beam sees its own token
    is_new = op.ReduceMax(op.Cast(seen_new, to=INT64.dtype), one, keepdims=0)  # [B, N]
    mask = op.Concat(op.Cast(is_past, to=INT64.dtype), op.Reshape(is_new, shape), axis=1)
    places = op.Range(first, first + op.Squeeze(tokens), 1)
    return ids, shape, mask, places, entries


@script(beamgen_ops, default_opset=op)
def row_index(entries, cache):
    """Where ``row_past`` finds entries ``[B, r, P]`` in any cache of E entries, in both its parts.

    cache ``[B, Hkv, E, D]`` -> ``[B, r, Hkv, P]``, which counts the vectors of all heads.
    """
    heads = op.Shape(cache, end=2)  # [2]: B, Hkv
    count = op.Squeeze(op.Shape(cache, start=2, end=3))
    head = op.Reshape(op.Range(0, op.ReduceProd(heads, keepdims=0), 1), heads)
    first = op.Unsqueeze(head * count, op.Constant(value_ints=[1, 3]))  # [B, 1, Hkv, 1]
    return first + op.Unsqueeze(entries, op.Constant(value_ints=[2]))


@script(beamgen_ops, default_opset=op)
def row_past(cache, index):
    """The past of each row, ``[B*r, Hkv, P, D]``, out of a cache ``[B, Hkv, E, D]``."""
    width = op.Shape(cache, start=3)
    vectors = op.Reshape(cache, op.Concat(op.Constant(value_ints=[-1]), width, axis=0))
    gathered = op.Gather(vectors, index)  # [B, r, Hkv, P, D]
    all_rows = op.Shape(index, end=1) * op.Shape(index, start=1, end=2)
    shape = op.Concat(all_rows, op.Shape(index, start=2), width, axis=0)
    return op.Reshape(gathered, shape, allowzero=1)


@script(beamgen_ops, default_opset=op)
def row_entries(present, past, shape):
    """The generated entries of a cache, past ``[B, Hkv, R, D]``, with those of the rows.

    present ``[B*r, Hkv, P+m, D]``, shape ``[2]`` of the rows' ids -> ``[B, Hkv, R+N, D]``.
    """
    all_rows, tokens = op.Split(shape, num_outputs=2)
    two, last = op.Constant(value_ints=[2]), op.Constant(value_ints=[9223372036854775807])
    newest = op.Slice(present, op.Neg(tokens), last, two)  # [B*r, Hkv, m, D]
    batch, heads = op.Shape(past, end=1), op.Shape(past, start=1, end=2)
    width = op.Shape(past, start=3)
    rows = all_rows / batch
    apart = op.Reshape(newest, op.Concat(batch, rows, heads, tokens, width, axis=0))
    together = op.Transpose(apart, perm=[0, 2, 1, 3, 4])  # [B, Hkv, r, m, D]
    entries = op.Reshape(together, op.Concat(batch, heads, rows * tokens, width, axis=0))
    return op.Concat(past, entries, axis=2)


@script(beamgen_ops, default_opset=op)
def row_logits_wanted(last_n, is_prompt):
    """Of how many tokens of a row logits are wanted, a scalar."""
    return op.Where(is_prompt, last_n, 1)


@script(beamgen_ops, default_opset=op)
def row_logits(logits, wanted, input_ids):
    """Logits of the rows' last tokens, by batch row: ``[B, n, V]``.

    logits ``[B*r, m, V]``, or of each row's last token alone; wanted a scalar.
    """
    one = op.Constant(value_ints=[1])
    last = op.Constant(value_ints=[9223372036854775807])
    chosen = op.Slice(logits, op.Neg(op.Reshape(wanted, one)), last, one)
    shape = op.Concat(
        op.Shape(input_ids, end=1), op.Constant(value_ints=[-1]), op.Shape(logits, start=2), axis=0
    )
    return op.Reshape(chosen, shape)
