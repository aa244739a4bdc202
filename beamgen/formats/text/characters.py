"""Token ids as text: bytes, and what UTF-8 makes of them.

Letters: B texts, R hypotheses returned of each, Q = B * R, S prompt length, T total
length, M tokens, X bytes.
"""

from __future__ import annotations

from onnxscript import INT64, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops

_EOS, _NONE = 1, 0  # of finish_reasons


@script(beamgen_ops, default_opset=op)
def shown(sequences, attention_mask, finish_reasons, eos_token_id, max_new_tokens):
    """Which tokens of ``sequences [B, R, T]`` a text is made of, bool of that shape.

    The prompt without its padding, and what was generated, up to and with the EOS that
    ended it. attention_mask ``[B, S]``, finish_reasons ``[B, R]``, eos_token_id ``[E]``,
    max_new_tokens ``[1]`` or ``[B]``.
    """
    prompt_len = op.Shape(attention_mask, start=1)
    lengths = op.Concat(op.Shape(sequences, end=2), prompt_len, axis=0)
    prompt = op.Expand(op.Unsqueeze(attention_mask, [1]) != 0, lengths)
    generated = op.Slice(sequences, prompt_len, op.Shape(sequences, start=2), [2])
    is_eos = op.Cast(op.Unsqueeze(generated, [3]) == eos_token_id, to=INT64.dtype)
    is_eos = op.Min(op.ReduceSum(is_eos, [3], keepdims=0), op.Constant(value_int=1))
    earlier = op.CumSum(is_eos, 2, exclusive=1)
    reason = op.Unsqueeze(finish_reasons, [2])
    step = op.Range(0, op.Squeeze(op.Shape(generated, start=2)), 1)
    in_time = op.Unsqueeze(step, [0, 1]) < op.Reshape(max_new_tokens, [-1, 1, 1])
    kept = op.And(in_time, op.Or(reason != _EOS, earlier == 0))
    return op.And(op.Concat(prompt, kept, axis=2), reason != _NONE)


@script(beamgen_ops, default_opset=op)
def spelled(sequences, kept, begins, lengths, octets, is_byte):
    """The bytes of the tokens kept.

    sequences, kept ``[B, R, T]``. begins, lengths ``[V + 1]``: where each id's bytes are
    in octets uint8; is_byte ``[V + 1]``: 1 where a token stands for a byte alone. The
    last is that of every other id.

    Returns: byte, byte_row (counted over all hypotheses) and is_byte_token, whether it is
    of a token that stands for a byte, ``[X]``.
    """
    shape = op.Concat(op.Constant(value_ints=[-1]), op.Shape(sequences, start=2), axis=0)
    flat = op.Reshape(kept, shape)  # [Q, T]
    row = op.Gather(op.NonZero(flat), 0)
    ids = op.Compress(sequences, op.Reshape(kept, [-1]))
    unknown = op.Shape(lengths) - 1
    ids = op.Where(op.And(ids >= 0, ids < unknown), ids, unknown)
    length = op.Gather(lengths, ids)
    longest = op.ReduceMax(op.Concat(length, op.Constant(value_ints=[0]), axis=0), keepdims=0)
    column = op.Unsqueeze(op.Range(0, longest, 1), [0])
    there = column < op.Unsqueeze(length, [1])  # [M, longest]
    place = op.Unsqueeze(op.Gather(begins, ids), [1]) + column
    index = op.Compress(place, op.Reshape(there, [-1]))
    rows = op.Expand(op.Unsqueeze(row, [1]), op.Shape(there))
    byte_row = op.Compress(rows, op.Reshape(there, [-1]))
    alone = op.Unsqueeze(op.Gather(is_byte, ids), [1])
    is_byte_token = op.Compress(op.Expand(alone, op.Shape(there)), op.Reshape(there, [-1]))
    byte = op.Cast(op.Gather(octets, index), to=INT64.dtype)
    return byte, byte_row, is_byte_token


@script(beamgen_ops, default_opset=op)
def byte_ahead(octets, starts, distance):
    """The byte at a distance ``[1]`` from each ``[X]`` within its run, 0 beyond its end."""
    run = op.CumSum(op.Cast(starts, to=INT64.dtype), 0)
    size = op.Shape(octets)
    filler = op.Expand(op.Constant(value_int=0), distance)
    there = op.Slice(op.Concat(octets, filler, axis=0), distance, size + distance)
    run_there = op.Slice(op.Concat(run, filler, axis=0), distance, size + distance)
    return op.Where(run_there == run, there, 0)


@script(beamgen_ops, default_opset=op)
def byte_before(values, starts, distance):
    """The value at a distance ``[1]`` before each ``[X]`` within its run, 0 before its start."""
    run = op.CumSum(op.Cast(starts, to=INT64.dtype), 0)
    size = op.Shape(values)
    filler = op.Expand(op.Constant(value_int=0), distance)
    there = op.Slice(op.Concat(filler, values, axis=0), [0], size)
    run_there = op.Slice(op.Concat(filler, run, axis=0), [0], size)
    return op.Where(run_there == run, there, 0)


@script(beamgen_ops, default_opset=op)
def utf8_lengths(octets, starts):
    """How many bytes are decoded together at each byte ``[X]`` that leads, else 0.

    A negative length is that of the longest start of a character that ends too early.

    Source: The Unicode Standard, table 3-7 and section 3.9, "maximal subparts", which
    Rust's ``from_utf8_lossy`` follows.
    """
    one = op.Constant(value_ints=[1])
    second = beamgen_ops.byte_ahead(octets, starts, one)
    third = beamgen_ops.byte_ahead(octets, starts, one + 1)
    fourth = beamgen_ops.byte_ahead(octets, starts, one + 2)
    low = op.Where(octets == 224, 160, op.Where(octets == 240, 144, 128))
    high = op.Where(octets == 237, 159, op.Where(octets == 244, 143, 191))
    good2 = op.And(second >= low, second <= high)
    good3 = op.And(third >= 128, third <= 191)
    good4 = op.And(fourth >= 128, fourth <= 191)
    two = op.And(octets >= 194, octets < 224)
    three = op.And(octets >= 224, octets < 240)
    four = op.And(octets >= 240, octets < 245)
    length2 = op.Where(good2, 2, -1)
    length3 = op.Where(good2, op.Where(good3, 3, -2), -1)
    length4 = op.Where(good2, op.Where(good3, op.Where(good4, 4, -3), -2), -1)
    wrong = op.Where(op.Or(octets < 128, octets >= 192), -1, 0)
    length = op.Where(octets < 128, 1, wrong)
    return op.Where(two, length2, op.Where(three, length3, op.Where(four, length4, length)))


@script(beamgen_ops, default_opset=op)
def lossy(octets, row, starts, each_byte):
    """Replace what is not UTF-8 by U+FFFD, run by run.

    octets, row ``[X]``; starts: where the runs begin that are decoded together;
    each_byte ``[X]``: 1 in runs where, if anything is wrong, every byte is replaced.

    Returns: bytes of valid UTF-8, and their rows.

    Source: ``ByteLevel`` and ``ByteFallback`` decoders of tokenizers.
    """
    one = op.Constant(value_ints=[1])
    length = beamgen_ops.utf8_lengths(octets, starts)
    length1 = beamgen_ops.byte_before(length, starts, one)
    length2 = beamgen_ops.byte_before(length, starts, one + 1)
    length3 = beamgen_ops.byte_before(length, starts, one + 2)
    # a byte that leads nothing belongs to the nearest leading one before it
    owner2 = op.Where(length1 != 0, 0, length2)
    owner3 = op.Where(op.Or(length1 != 0, length2 != 0), 0, length3)
    leads = length != 0
    inside = op.Or(op.Abs(length1) > 1, op.Or(op.Abs(owner2) > 2, op.Abs(owner3) > 3))
    inside = op.And(op.Not(leads), inside)
    good = op.Or(length > 0, op.And(inside, op.Or(length1 > 1, op.Or(owner2 > 2, owner3 > 3))))
    run = op.CumSum(op.Cast(starts, to=INT64.dtype), 0)
    bad = op.Cast(op.Not(good), to=INT64.dtype)
    bad_runs = op.ScatterElements(
        op.Expand(op.Constant(value_int=0), op.Shape(octets) + 1), run, bad, axis=0, reduction="max"
    )
    all_bad = op.And(op.Gather(bad_runs, run) > 0, each_byte > 0)
    replaced = op.Or(all_bad, op.And(op.Not(good), op.Not(inside)))
    plain = op.And(good, op.Not(all_bad))
    first = op.Where(replaced, 239, op.Where(plain, octets, -1))
    three = op.Concat(
        op.Unsqueeze(first, [1]),
        op.Unsqueeze(op.Where(replaced, 191, -1), [1]),
        op.Unsqueeze(op.Where(replaced, 189, -1), [1]),
        axis=1,
    )
    there = op.Reshape(three >= 0, [-1])
    rows = op.Expand(op.Unsqueeze(row, [1]), op.Shape(three))
    return op.Compress(three, there), op.Compress(rows, there)


@script(beamgen_ops, default_opset=op)
def changes(values):
    """Where a value differs from the one before it, bool ``[X]``."""
    outside = op.Constant(value_ints=[-1])
    return values != op.Slice(op.Concat(outside, values, axis=0), [0], op.Shape(values))


@script(beamgen_ops, default_opset=op)
def decode_bytes(octets, row, is_byte):
    """Bytes as UTF-8, each row's together, as the ``ByteLevel`` decoder has them."""
    valid, rows = beamgen_ops.lossy(octets, row, beamgen_ops.changes(row), is_byte * 0)
    decoded = op.Identity(valid)
    decoded_row = op.Identity(rows)
    return decoded, decoded_row


@script(beamgen_ops, default_opset=op)
def decode_fallback(octets, row, is_byte):
    """Bytes as UTF-8, neighbouring byte tokens together, as ``ByteFallback`` has them."""
    starts = beamgen_ops.changes(row * 2 + is_byte)
    valid, rows = beamgen_ops.lossy(octets, row, starts, is_byte)
    decoded = op.Identity(valid)
    decoded_row = op.Identity(rows)
    return decoded, decoded_row


@script(beamgen_ops, default_opset=op)
def strip_first_space(octets, row):
    """Drop a space at the start of a row of bytes ``[X]``."""
    kept = op.Not(op.And(octets == 32, beamgen_ops.changes(row)))
    stripped = op.Compress(octets, kept)
    stripped_row = op.Compress(row, kept)
    return stripped, stripped_row


@script(beamgen_ops, default_opset=op)
def joined(octets, row, shape, bytes_as_text):
    """The strings of ``shape [2]`` that bytes ``[X]`` of rows make.

    bytes_as_text: 256 strings of one byte each, and an empty one.
    """
    rows = op.ReduceProd(shape)
    one, nothing = op.Constant(value_ints=[1]), op.Constant(value_ints=[0])
    count = op.ScatterElements(
        op.Expand(nothing, rows), row, op.Expand(one, op.Shape(row)), axis=0, reduction="add"
    )
    width = op.ReduceMax(op.Concat(count, one, axis=0))
    place = op.Range(0, op.Squeeze(op.Shape(row)), 1) - op.Gather(
        op.CumSum(count, 0, exclusive=1), row
    )
    index = op.Concat(op.Unsqueeze(row, [1]), op.Unsqueeze(place, [1]), axis=1)
    table = op.Expand(op.Constant(value_ints=[256]), op.Concat(rows, width, axis=0))
    text = op.Gather(bytes_as_text, op.ScatterND(table, index, octets))
    empty = op.Gather(bytes_as_text, op.Constant(value_ints=[256]))
    far = op.Constant(value_ints=[9223372036854775807])
    more = op.Squeeze(width) > 1
    while more:  # each turn halves the width
        odd = op.Shape(text, start=1) % 2
        even = op.Concat(text, op.Expand(empty, op.Concat(rows, odd, axis=0)), axis=1)
        text = op.StringConcat(
            op.Slice(even, [0], far, [1], [2]), op.Slice(even, [1], far, [1], [2])
        )
        more = op.Squeeze(op.Shape(text, start=1)) > 1
    return op.Reshape(text, shape)
