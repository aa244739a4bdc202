"""Byte-pair encoding: units become symbols, and symbols of a piece merge by rank.

Letters: N units, M symbols, B texts, S the longest prompt's length.
"""

from __future__ import annotations

from onnxscript import INT64, script
from onnxscript import opset23 as op

from beamgen.formats.text.units import ADDED
from beamgen.onnx_domain import beamgen_ops

#: More than any rank and place together.
_NEVER = 2**62


@script(beamgen_ops, default_opset=op)
def utf8(units):
    """The bytes of units ``[N]``: ``[N, 4]``, filled with -1. Source: RFC 3629, section 3."""
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
    """Turn each unit into one symbol, or into those of its bytes.

    characters ``[N]``: ids of whole characters, -1 where bytes stand for one; byte_ids
    ``[256]``; added_ids ``[A]``.

    Returns: symbols, symbol_piece (counted from 1) and symbol_row, each ``[M]``; the last
    symbol is of no row, so that there always is one.
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
    symbols = op.Concat(op.Compress(ids, there), end, axis=0)
    symbol_piece = op.Concat(op.Compress(pieces, there), end, axis=0)
    symbol_row = op.Concat(op.Compress(rows, there), nowhere, axis=0)
    return symbols, symbol_piece, symbol_row


@script(beamgen_ops, default_opset=op)
def pairs(ids, piece, vocab_size):
    """A number for each neighbouring pair of ids ``[M]``: ``[M - 1]``, -1 across pieces."""
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
def outlook(ids, piece, begins, ends, ranked, vocab_size):
    """What may yet come of each pair's neighbours, as numbers to be looked up.

    begins, ends ``[M]``: the first and the last symbol of the text in each symbol; ranked
    ``[M - 1]`` as in ``merge``.

    Returns: right and new_right, for the pair's right symbol and for the new one, with
    the first symbol of what follows; left and new_left, for its left symbol and the new
    one, with the last symbol of what stands before; -1 where the piece ends. Each
    ``[M - 1]``.
    """
    size = op.Shape(ids)
    last, none = op.Constant(value_ints=[-1]), op.Constant(value_ints=[-1])
    first, second = op.Slice(ids, [0], last), op.Slice(ids, [1], size)
    new = ranked % vocab_size
    after = op.Slice(op.Concat(begins, none, axis=0), [2], size + 1)
    piece_after = op.Slice(op.Concat(piece, none, axis=0), [2], size + 1)
    before = op.Slice(op.Concat(none, ends, axis=0), [0], size - 1)
    piece_before = op.Slice(op.Concat(none, piece, axis=0), [0], size - 1)
    here = op.Slice(piece, [0], last)
    goes_on, came_on = piece_after == here, piece_before == here
    right = op.Where(goes_on, second * vocab_size + after, none)
    new_right = op.Where(goes_on, new * vocab_size + after, none)
    left = op.Where(came_on, before * vocab_size + first, none)
    new_left = op.Where(came_on, before * vocab_size + new, none)
    return right, new_right, left, new_left


@script(beamgen_ops, default_opset=op)
def certain(ranked, vocab_size, right, new_right, left, new_left):
    """Which pairs merge before anything else can happen to their symbols, bool ``[M - 1]``.

    The other four: the lowest rank of a merge at each of ``outlook``'s places. Whatever
    the neighbours become, they begin and end with the same symbols of the text: if no
    merge with such a one ranks before the pair, the pair will merge; and if none of the
    new symbol does, it may merge now, for nobody will notice before its time.
    """
    rank = ranked / vocab_size
    at_once = op.And(rank <= right, rank < left)
    inert = op.And(rank < new_right, rank < new_left)
    return op.And(ranked >= 0, op.And(at_once, inert))


@script(beamgen_ops, default_opset=op)
def merge(ids, piece, row, begins, ends, ranked, sure, vocab_size):
    """Merge the leftmost pair of lowest rank in each piece, and all that are sure.

    ranked ``[M - 1]``: rank * vocab_size + the new id of each neighbouring pair, or -1;
    sure ``[M - 1]`` of ``certain``.

    Returns: more, whether anything merged; and ids, piece, row, begins and ends with a
    symbol less for each merge, as merged, merged_piece and so on.

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
    lowest = op.And(found, order == op.Gather(best, left))
    chosen = op.Or(lowest, sure)
    no = op.Constant(value_ints=[0]) == 1
    first, second = op.Concat(chosen, no, axis=0), op.Concat(no, chosen, axis=0)
    longer = op.Where(first, op.Concat(ranked % vocab_size, last, axis=0), ids)
    end = op.Where(first, op.Concat(op.Slice(ends, [1], size), last, axis=0), ends)
    kept = op.Not(second)
    more = op.ReduceMax(op.Cast(second, to=INT64.dtype), keepdims=0) > 0
    merged = op.Compress(longer, kept)
    merged_piece = op.Compress(piece, kept)
    merged_row = op.Compress(row, kept)
    merged_begins = op.Compress(begins, kept)
    merged_ends = op.Compress(end, kept)
    return more, merged, merged_piece, merged_row, merged_begins, merged_ends


@script(beamgen_ops, default_opset=op)
def left_padded(ids, row, texts, pad_token_id):
    """Put symbols ``[M]`` of rows ``[M]`` into input_ids and attention_mask ``[B, S]``.

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
    nowhere = op.Expand(nothing, shape)
    attention_mask = op.ScatterND(nowhere, index, op.Expand(one, op.Shape(symbol)))
    return input_ids, attention_mask


@script(beamgen_ops, default_opset=op)
def every_text_needs_a_token(least):
    """Nothing, a 0 to add; or an error where least ``[1]`` is 0."""
    return op.Gather(op.Constant(value_ints=[0]), 1 - least)
