"""Byte-pair encoding: units become symbols, and symbols of a piece merge by rank.

Letters: N units, M symbols, B texts, S the longest prompt's length.
"""

from __future__ import annotations

from onnxscript import INT64, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops
from beamgen.text.units import ADDED

#: More than any rank and place together.
_NEVER = 2**62


@script(beamgen_ops, default_opset=op)
def utf8(units):
    """Units ``[N]`` -> their bytes ``[N, 4]``, filled with -1. Source: RFC 3629, section 3."""
    none = units * 0 - 1
    last = units % 64 + 128
    second = units / 64 % 64 + 128
    third = units / 4096 % 64 + 128
    ascii, two, three = units < 128, units < 2048, units < 65536
    lead = op.Where(
        two, units / 64 + 192, op.Where(three, units / 4096 + 224, 240 + units / 262144)
    )
    first = op.Where(ascii, units, lead)
    after = op.Where(ascii, none, op.Where(two, last, op.Where(three, second, third)))
    beyond = op.Where(two, none, op.Where(three, last, second))
    fourth = op.Where(three, none, last)
    return op.Concat(
        op.Unsqueeze(first, [1]),
        op.Unsqueeze(after, [1]),
        op.Unsqueeze(beyond, [1]),
        op.Unsqueeze(fourth, [1]),
        axis=1,
    )


@script(beamgen_ops, default_opset=op)
def symbols(units, row, starts, characters, byte_ids, added_ids):
    """Each unit as one symbol, or as those of its bytes.

    characters ``[N]``: ids of whole characters, -1 where bytes stand for one; byte_ids
    ``[256]``; added_ids ``[A]``.

    Returns: ids, piece (counted from 1) and row, each ``[M]``; the last symbol is of no
    row, so that there always is one.
    """
    alone = units >= ADDED
    zero = op.Constant(value_int=0)
    added = op.Gather(added_ids, op.Max(units - ADDED, zero))
    single = op.Unsqueeze(op.Where(alone, added, characters), [1])
    octets = beamgen_ops.utf8(op.Where(alone, zero, units))
    spelled = op.Where(octets >= 0, op.Gather(byte_ids, op.Max(octets, zero)), -1)
    rest = op.Expand(op.Constant(value_ints=[-1]), op.Shape(octets))
    column = op.Constant(value_ints=[0, 1, 2, 3])
    one = op.Where(column == 0, single, rest)
    ids = op.Where(single >= 0, one, spelled)
    there = op.Reshape(ids >= 0, [-1])
    piece = op.CumSum(op.Cast(starts, to=INT64.dtype), 0)
    pieces = op.Expand(op.Unsqueeze(piece, [1]), op.Shape(ids))
    rows = op.Expand(op.Unsqueeze(row, [1]), op.Shape(ids))
    end, nowhere = op.Constant(value_ints=[0]), op.Constant(value_ints=[-1])
    return (
        op.Concat(op.Compress(ids, there), end, axis=0),
        op.Concat(op.Compress(pieces, there), end, axis=0),
        op.Concat(op.Compress(rows, there), nowhere, axis=0),
    )


@script(beamgen_ops, default_opset=op)
def pairs(ids, piece, vocab_size):
    """Ids, piece ``[M]`` -> a number for each neighbouring pair ``[M - 1]``, -1 across pieces."""
    left, right = op.Slice(ids, [0], [-1]), op.Slice(ids, [1], op.Shape(ids))
    same = op.Slice(piece, [0], [-1]) == op.Slice(piece, [1], op.Shape(piece))
    return op.Where(same, left * vocab_size + right, -1)


@script(beamgen_ops, default_opset=op)
def cut(mergeable):
    """Cut pieces where no merge can ever join: mergeable ``[M - 1]`` is -1 there.

    A merge joins two symbols of the text only if it ends the one token and begins the
    other, so that what a cut parts never meets. Short pieces merge at the same time.

    Returns: piece ``[M]``.
    """
    first = op.Constant(value_ints=[1])
    apart = op.Cast(mergeable < 0, to=INT64.dtype)
    return op.CumSum(op.Concat(first, apart, axis=0), 0)


@script(beamgen_ops, default_opset=op)
def merge(ids, piece, row, ranked, vocab_size):
    """In each piece, the leftmost of the pairs of lowest rank becomes one symbol.

    ranked ``[M - 1]``: rank * vocab_size + the new id of each neighbouring pair, or -1.

    Returns: whether anything merged, and ids, piece, row with a symbol less for each merge.

    Source: ``Word::merge_all`` of tokenizers.
    """
    size = op.Shape(ids)
    last = op.Constant(value_ints=[-1])
    never = op.Constant(value_int=_NEVER)
    found = ranked >= 0
    place = op.Range(0, op.Squeeze(op.Shape(ranked)), 1)
    order = op.Where(found, ranked * size + place, never)
    left = op.Slice(piece, [0], last)
    best = op.ScatterElements(op.Expand(never, size + 1), left, order, axis=0, reduction="min")
    chosen = op.And(found, order == op.Gather(best, left))
    no = op.Constant(value_ints=[0]) == 1
    begins, ends = op.Concat(chosen, no, axis=0), op.Concat(no, chosen, axis=0)
    merged = op.Where(begins, op.Concat(ranked % vocab_size, last, axis=0), ids)
    kept = op.Not(ends)
    more = op.ReduceMax(op.Cast(ends, to=INT64.dtype), keepdims=0) > 0
    return more, op.Compress(merged, kept), op.Compress(piece, kept), op.Compress(row, kept)


@script(beamgen_ops, default_opset=op)
def left_padded(ids, row, texts, pad_token_id):
    """Symbols ``[M]`` of rows ``[M]`` -> input_ids and attention_mask ``[B, S]``.

    texts ``[B]``, read for its shape; pad_token_id ``[1]``. A text without any token
    cannot be searched: then ``every_text_needs_a_token`` fails.
    """
    batch = op.Shape(texts)
    one, nothing = op.Constant(value_ints=[1]), op.Constant(value_ints=[0])
    there = row >= 0
    symbol, at = op.Compress(ids, there), op.Compress(row, there)
    count = op.ScatterElements(
        op.Expand(nothing, batch), at, op.Expand(one, op.Shape(at)), axis=0, reduction="add"
    )
    least = op.ReduceMin(op.Concat(count, one, axis=0))  # [1], 0 where a text has none
    size = op.ReduceMax(op.Concat(count, one, axis=0)) + beamgen_ops.every_text_needs_a_token(least)
    before = op.CumSum(count, 0, exclusive=1)
    place = op.Range(0, op.Squeeze(op.Shape(at)), 1) - op.Gather(before, at)
    column = op.Squeeze(size) - op.Gather(count, at) + place
    index = op.Concat(op.Unsqueeze(at, [1]), op.Unsqueeze(column, [1]), axis=1)
    shape = op.Concat(batch, size, axis=0)
    input_ids = op.ScatterND(op.Expand(pad_token_id, shape), index, symbol)
    mask = op.ScatterND(op.Expand(nothing, shape), index, op.Expand(one, op.Shape(symbol)))
    return input_ids, mask


@script(beamgen_ops, default_opset=op)
def every_text_needs_a_token(least):
    """0, or an error where least ``[1]`` is 0."""
    return op.Gather(op.Constant(value_ints=[0]), 1 - least)
