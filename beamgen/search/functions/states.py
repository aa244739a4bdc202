"""States: what each beam carries besides the tree cache, of a size that does not grow.

A state stands for all that its beam has seen, so that it is copied where beams are chosen.

Letters: B batch, K beams, S prompt length, N tokens of a piece, G states of a row: one until
the first choice, then K.
"""

from __future__ import annotations

from onnxscript import INT64, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def piece_mask(attention_mask, piece, piece_len):
    """Which tokens of a piece of the prompt are text: of ``[B, S]`` a part ``[B, N]``.

    piece, a scalar, counts from 0; piece_len ``[1]``.
    """
    begin = piece * piece_len
    return op.Slice(attention_mask, begin, begin + piece_len, op.Constant(value_ints=[1]))


@script(beamgen_ops, default_opset=op)
def beams_mask(tokens):
    """The tokens of beams ``[B, K]`` are text, each of them 1."""
    return op.Expand(op.Constant(value_int=1), op.Shape(tokens))


@script(beamgen_ops, default_opset=op)
def next_states(state, beams):
    """The states ``[B, K, ...]`` of the next running beams, of ``[B, G, ...]``.

    beams ``[B, K]`` are their parents, which share one state before the first choice.
    """
    last = op.Shape(state, start=1, end=2) - 1
    parent = op.Cast(op.Min(beams, last), to=INT64.dtype)
    return op.GatherND(state, op.Unsqueeze(parent, [2]), batch_dims=1)
