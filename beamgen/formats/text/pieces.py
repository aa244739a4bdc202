"""Pre-tokenizers: where the pieces begin that no merge leaves.

Each function takes ``units [N]``, their ``kinds [N]`` (``units.classes``) and ``starts``
bool ``[N]``, where the pieces found so far begin, and gives the finer ``starts``. A
regular expression is matched at every unit at once: where would a match end that begins
here? Following the ends from each piece's first unit then finds the matches that a scan
from left to right would find.

Source: ``pre_tokenizers`` of tokenizers; the patterns are in ``PATTERNS``.
"""

from __future__ import annotations

from onnxscript import INT64, script
from onnxscript import opset23 as op

from beamgen.formats.text.units import LETTER, NUMBER, OTHER, SPACE
from beamgen.onnx_domain import beamgen_ops

_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
_EITHER_CASE = f"(?i:{_CONTRACTIONS})"

#: Regular expressions of ``Split``, and the function here that does the same.
PATTERNS = {
    rf"{_CONTRACTIONS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+": "split_words",
    rf"{_EITHER_CASE}|{_LETTERS}|\p{{N}}{{1,3}}|{_REST}": "split_by_three_digits",
    rf"{_EITHER_CASE}|{_LETTERS}|\p{{N}}|{_REST}": "split_by_digit",
}


@script(beamgen_ops, default_opset=op)
def ahead(values, starts, distance):
    """The value at a distance ``[1]`` from each ``[N]`` within its piece, -1 beyond its end."""
    piece = op.CumSum(op.Cast(starts, to=INT64.dtype), 0)
    size = op.Shape(values)
    filler = op.Expand(op.Constant(value_int=-1), distance)
    there = op.Slice(op.Concat(values, filler, axis=0), distance, size + distance)
    piece_there = op.Slice(op.Concat(piece, filler, axis=0), distance, size + distance)
    return op.Where(piece_there == piece, there, -1)


@script(beamgen_ops, default_opset=op)
def run_end(inside, starts):
    """The first place after each unit that is not inside, bool ``[N]``, or begins a piece."""
    stop = op.Or(op.Not(inside), starts)
    place = op.Concat(op.Squeeze(op.NonZero(stop), [0]), op.Shape(inside), axis=0)
    return op.Gather(place, op.CumSum(op.Cast(stop, to=INT64.dtype), 0))


@script(beamgen_ops, default_opset=op)
def end_after(first, inside, end, here, next_inside):
    """The end of ``first? inside+`` at each unit, or 0 where it does not match.

    first: bool ``[N]``, may stand before; inside: the class repeated; end: its
    ``run_end``; here ``[N]``: 0, 1, ...; next_inside: whether the next unit of the piece
    is inside. ``first`` and ``inside`` have no unit in common.
    """
    both = op.And(first, next_inside)
    last = op.Shape(end) - 1
    after = op.Gather(end, op.Min(here + 1, last))
    return op.Where(both, after, op.Where(inside, end, 0))


@script(beamgen_ops, default_opset=op)
def contraction_end(units, one, two, here):
    """The end of ``'s|'t|'re|'ve|'m|'ll|'d`` at each unit, or 0; one and two are ``ahead``."""
    # s t m d
    single = op.Or(op.Or(one == 115, one == 116), op.Or(one == 109, one == 100))
    # re ve ll
    before_e = op.And(op.Or(one == 114, one == 118), two == 101)
    double = op.Or(before_e, op.And(one == 108, two == 108))
    length = op.Where(single, 2, op.Where(double, 3, 0))
    return op.Where(op.And(units == 39, length > 0), here + length, 0)


@script(beamgen_ops, default_opset=op)
def space_end(is_space, starts, here):
    r"""The end of ``\s+(?!\S)|\s+`` at each unit, or 0: a last space belongs to what follows."""
    end = beamgen_ops.run_end(is_space, starts)
    beyond = op.Concat(starts, op.Constant(value_ints=[1]) == 1, axis=0)
    at_end = op.Gather(beyond, end)
    whole = op.Or(at_end, end - here == 1)
    return op.Where(is_space, op.Where(whole, end, end - 1), 0)


@script(beamgen_ops, default_opset=op)
def follow(end, starts):
    """Where matches start, of the end ``[N]`` of the match at each unit and the pieces' starts.

    Each turn of the loop doubles how far a known start is followed.
    """
    size = op.Shape(end)
    nothing = op.Constant(value_ints=[0])
    step = op.Concat(end, size, axis=0)
    known = op.Concat(op.Cast(starts, to=INT64.dtype), nothing, axis=0)
    more = op.Squeeze(size > 0)
    while more:
        known = op.ScatterElements(known, step, known, axis=0, reduction="max")
        step = op.Gather(step, step)
        more = op.ReduceMin(step, keepdims=0) < op.Squeeze(size)
    return op.Slice(known, [0], size) > 0


@script(beamgen_ops, default_opset=op)
def split_words(units, kinds, starts):
    """Split by GPT-2's pattern, which is ``ByteLevel``'s own."""
    here = op.Range(0, op.Squeeze(op.Shape(units)), 1)
    one = op.Constant(value_ints=[1])
    unit1 = beamgen_ops.ahead(units, starts, one)
    unit2 = beamgen_ops.ahead(units, starts, one + 1)
    kind1 = beamgen_ops.ahead(kinds, starts, one)
    blank = units == 32
    letter, number, other = kinds == LETTER, kinds == NUMBER, kinds == OTHER
    letters = beamgen_ops.end_after(
        blank, letter, beamgen_ops.run_end(letter, starts), here, kind1 == LETTER
    )
    numbers = beamgen_ops.end_after(
        blank, number, beamgen_ops.run_end(number, starts), here, kind1 == NUMBER
    )
    others = beamgen_ops.end_after(
        blank, other, beamgen_ops.run_end(other, starts), here, kind1 == OTHER
    )
    # at most one of them matches
    words = op.Max(letters, numbers, others)
    short = beamgen_ops.contraction_end(units, unit1, unit2, here)
    spaces = beamgen_ops.space_end(kinds == SPACE, starts, here)
    end = op.Where(short > 0, short, op.Where(words > 0, words, spaces))
    end = op.Max(end, here + 1)  # added tokens
    return beamgen_ops.follow(end, starts)


@script(beamgen_ops, default_opset=op)
def lower(units):
    """Turn A to Z into a to z, and the long s, which matches s where case does not count."""
    upper = op.And(units >= 65, units <= 90)
    return op.Where(upper, units + 32, op.Where(units == 383, 115, units))


@script(beamgen_ops, default_opset=op)
def split_with_digits(units, kinds, starts, digits):
    """Split by the pattern of ``split_by_digit``, with up to ``digits [1]`` in a piece."""
    here = op.Range(0, op.Squeeze(op.Shape(units)), 1)
    one = op.Constant(value_ints=[1])
    small = beamgen_ops.lower(units)
    unit1 = beamgen_ops.ahead(small, starts, one)
    unit2 = beamgen_ops.ahead(small, starts, one + 1)
    kind1 = beamgen_ops.ahead(kinds, starts, one)
    letter, number, other = kinds == LETTER, kinds == NUMBER, kinds == OTHER
    space, line = kinds == SPACE, op.Or(units == 10, units == 13)
    short = beamgen_ops.contraction_end(units, unit1, unit2, here)
    lead = op.And(op.Or(space, other), op.Not(line))
    letters = beamgen_ops.end_after(
        lead, letter, beamgen_ops.run_end(letter, starts), here, kind1 == LETTER
    )
    numbers = op.Where(number, op.Min(beamgen_ops.run_end(number, starts), here + digits), 0)
    others = beamgen_ops.end_after(
        units == 32, other, beamgen_ops.run_end(other, starts), here, kind1 == OTHER
    )
    # the lines that follow them, in the same piece
    line_end = op.Concat(beamgen_ops.run_end(line, starts), op.Shape(units), axis=0)
    continues = op.And(line, op.Not(starts))
    goes_on = op.Concat(continues, op.Constant(value_ints=[0]) == 1, axis=0)
    others = op.Where(op.Gather(goes_on, others), op.Gather(line_end, others), others)
    # white space up to its last line end
    before = op.Concat(op.Constant(value_ints=[-1]), op.Squeeze(op.NonZero(line), [0]), axis=0)
    count = op.CumSum(op.Cast(line, to=INT64.dtype), 0)
    last = op.Gather(before, op.Gather(count, beamgen_ops.run_end(space, starts) - 1))
    lines = op.Where(op.And(space, last >= here), last + 1, 0)
    spaces = beamgen_ops.space_end(space, starts, here)
    # in the pattern's order
    end = op.Where(lines > 0, lines, spaces)
    end = op.Where(others > 0, others, end)
    end = op.Where(numbers > 0, numbers, end)
    end = op.Where(letters > 0, letters, end)
    end = op.Where(short > 0, short, end)
    end = op.Max(end, here + 1)  # added tokens
    return beamgen_ops.follow(end, starts)


@script(beamgen_ops, default_opset=op)
def split_by_digit(units, kinds, starts):
    """Split by Qwen2's pattern: every digit alone."""
    return beamgen_ops.split_with_digits(units, kinds, starts, op.Constant(value_ints=[1]))


@script(beamgen_ops, default_opset=op)
def split_by_three_digits(units, kinds, starts):
    """Split by the pattern of Llama 3 and cl100k_base: at most three digits together."""
    return beamgen_ops.split_with_digits(units, kinds, starts, op.Constant(value_ints=[3]))


@script(beamgen_ops, default_opset=op)
def digits_alone(units, kinds, starts):
    """Split digits from all else and each other, as ``Digits(individual_digits=True)``."""
    number = kinds == NUMBER
    before = beamgen_ops.kind_before(kinds)
    return op.Or(starts, op.Or(number, before == NUMBER))


@script(beamgen_ops, default_opset=op)
def digits_together(units, kinds, starts):
    """Split digits from all else, as ``Digits(individual_digits=False)``."""
    number = kinds == NUMBER
    before = beamgen_ops.kind_before(kinds)
    return op.Or(starts, op.Xor(number, before == NUMBER))


@script(beamgen_ops, default_opset=op)
def kind_before(kinds):
    """The class of the unit before each."""
    outside = op.Constant(value_ints=[-1])
    return op.Slice(op.Concat(outside, kinds, axis=0), [0], op.Shape(kinds))


@script(beamgen_ops, default_opset=op)
def before_each_blank(units, kinds, starts):
    """Split before each blank, U+2581, as ``Metaspace(split=True)``."""
    return op.Or(starts, units == 9601)
