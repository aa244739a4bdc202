"""Text as units: one number for each character, or for each added token in it.

The units of all rows stand one after the other, ``[N]``, beside ``row [N]``. A unit is
a Unicode code point, or ``ADDED`` plus the index of an added token or of one that the
tokenizer's template puts around each text. A segment is the text between two of those,
and a piece is what a pre-tokenizer makes of a segment: no merge leaves it.

Letters: B texts, N units, A added tokens, P pieces.
"""

from __future__ import annotations

from onnxscript import INT64, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops

#: The first unit that is no code point.
ADDED = 0x110000
#: Code points are looked up by pages of that many.
PAGE = 256
#: Classes of units.
OTHER, LETTER, NUMBER, SPACE, TOKEN = range(5)

_BYTES = 256  # the trie's numbers: 0 is padding, 1 + byte, then added tokens
_PAGES = ADDED // PAGE


@script(beamgen_ops, default_opset=op)
def flat_bytes(found, parts, before, after):
    """The numbers that the trie gives, of all rows, without padding.

    found ``[B, n, L]``: each text in parts, which were cut at its NUL characters; parts
    ``[B]``: how many there are; before and after: numbers of the template's tokens.

    Returns: utf8, bytes or, from 256 on, added tokens ``[T]``, and utf8_row ``[T]``.
    """
    batch = op.Shape(found, end=1)
    part = op.Range(0, op.Squeeze(op.Shape(found, start=1, end=2)), 1)
    nul = op.Cast(op.Unsqueeze(part, [0]) < op.Unsqueeze(parts, [1]) - 1, to=INT64.dtype)
    whole = op.Concat(found, op.Unsqueeze(nul, [2]), axis=2)  # the byte 0 has the number 1
    size = op.ReduceProd(op.Shape(whole, start=1))  # not -1: there may be no texts
    text = op.Reshape(whole, op.Concat(batch, size, axis=0), allowzero=1)
    first = op.Expand(before, op.Concat(batch, op.Shape(before), axis=0))
    last = op.Expand(after, op.Concat(batch, op.Shape(after), axis=0))
    numbers = op.Concat(first, text, last, axis=1)
    there = numbers != 0
    utf8_row = op.Gather(op.NonZero(there), 0)
    utf8 = op.Compress(numbers, op.Reshape(there, [-1])) - 1
    return utf8, utf8_row


@script(beamgen_ops, default_opset=op)
def units_of_bytes(numbers, row):
    """Read UTF-8 as code points: numbers, row ``[T]`` -> units, unit_row ``[N]``.

    Source: RFC 3629, section 3.
    """
    none = op.Constant(value_ints=[128, 128, 128])
    padded = op.Concat(numbers, none, axis=0)
    size = op.Shape(numbers)
    # six bits each
    second = op.Slice(padded, [1], size + 1) - 128
    third = op.Slice(padded, [2], size + 2) - 128
    fourth = op.Slice(padded, [3], size + 3) - 128
    two = (numbers - 192) * 64 + second
    three = (numbers - 224) * 4096 + second * 64 + third
    four = (numbers - 240) * 262144 + second * 4096 + third * 64 + fourth
    token = numbers - _BYTES + ADDED
    long = op.Where(numbers < 240, three, op.Where(numbers < _BYTES, four, token))
    points = op.Where(numbers < 128, numbers, op.Where(numbers < 224, two, long))
    leads = op.Or(numbers < 128, numbers >= 192)
    units = op.Compress(points, leads)
    unit_row = op.Compress(row, leads)
    return units, unit_row


@script(beamgen_ops, default_opset=op)
def classes(units, pages, members):
    """The classes of units ``[N]``, int64 ``[N]``.

    pages int64 ``[_PAGES + 1]``: where each page's classes begin in members uint8; the
    last is that of tokens.
    """
    page = op.Min(units / PAGE, op.Constant(value_int=_PAGES))
    return op.Cast(op.Gather(members, op.Gather(pages, page) + units % PAGE), to=INT64.dtype)


@script(beamgen_ops, default_opset=op)
def strip_around(units, row, kinds, lstrip, rstrip):
    """Drop the white space that some added tokens take with them.

    kinds ``[N]`` of ``classes``; lstrip and rstrip bool ``[A]``. Returns: stripped,
    stripped_row.

    Source: ``AddedVocabulary::find_matches`` of tokenizers.
    """
    # a text character of no row at either end
    outside = op.Constant(value_ints=[0])
    nowhere = op.Constant(value_ints=[-1])
    around = op.Concat(outside, units, outside, axis=0)
    rows = op.Concat(nowhere, row, nowhere, axis=0)
    solid = op.Concat(outside, kinds, outside, axis=0) != SPACE
    place = op.Squeeze(op.NonZero(solid), [0])
    count = op.CumSum(op.Cast(solid, to=INT64.dtype), 0)
    count = op.Slice(count, [1], op.Shape(units) + 1)  # [N], at least 1
    before = op.Gather(place, count - 1)
    after = op.Gather(place, count)
    none = op.Constant(value_int=0)
    left, right = op.Gather(around, before), op.Gather(around, after)
    eaten_left = op.And(
        op.And(left >= ADDED, op.Gather(rows, before) == row),
        op.Gather(rstrip, op.Max(left - ADDED, none)),
    )
    eaten_right = op.And(
        op.And(right >= ADDED, op.Gather(rows, after) == row),
        op.Gather(lstrip, op.Max(right - ADDED, none)),
    )
    kept = op.Not(op.And(kinds == SPACE, op.Or(eaten_left, eaten_right)))
    stripped = op.Compress(units, kept)
    stripped_row = op.Compress(row, kept)
    return stripped, stripped_row


@script(beamgen_ops, default_opset=op)
def segment_starts(units, row):
    """Where a segment or an added token begins, bool ``[N]``, among units ``[N]``."""
    nowhere = op.Constant(value_ints=[-1])
    size = op.Shape(units)
    before = op.Slice(op.Concat(nowhere, row, axis=0), [0], size)
    left = op.Slice(op.Concat(nowhere, units, axis=0), [0], size)
    return op.Or(row != before, op.Or(units >= ADDED, left >= ADDED))


@script(beamgen_ops, default_opset=op)
def insert_prefix(units, row, prefix, unless, template):
    """Put a unit before each segment: prefix ``[1]``.

    unless ``[n]``: not where the segment begins with one of these units; template
    ``[1]``: only at the start of a row, or after a unit from this one on.

    Returns: prefixed, prefixed_row.
    """
    nowhere = op.Constant(value_ints=[-1])
    size = op.Shape(units)
    before = op.Slice(op.Concat(nowhere, row, axis=0), [0], size)
    left = op.Slice(op.Concat(nowhere, units, axis=0), [0], size)
    at_start = op.Or(row != before, left >= template)
    same = op.Cast(op.Unsqueeze(units, [1]) == op.Unsqueeze(unless, [0]), to=INT64.dtype)
    begins = op.And(beamgen_ops.segment_starts(units, row), units < ADDED)
    wanted = op.And(op.And(begins, at_start), op.ReduceSum(same, [1], keepdims=0) == 0)
    two = op.Concat(
        op.Unsqueeze(op.Where(wanted, prefix, nowhere), [1]), op.Unsqueeze(units, [1]), axis=1
    )
    there = op.Reshape(two >= 0, [-1])
    rows = op.Expand(op.Unsqueeze(row, [1]), op.Shape(two))
    prefixed = op.Compress(two, there)
    prefixed_row = op.Compress(rows, there)
    return prefixed, prefixed_row
