"""The attention of the loop backend, a node of ours in each layer, as an ONNX function."""

from __future__ import annotations

from onnxscript import opset23 as op
from onnxscript import script

from beamgen.onnx_domain import beamgen_ops

#: A step of no more new tokens computes its scores at once.
_FEW_TOKENS = 64
#: Scores of all heads that are held at once, 32 MiB, unless they are of so few queries that
#: reading the keys takes longer than the scores do: of 16, or as many as a head is wide.
_SCORES_AT_ONCE = 2**23
_FEWEST_QUERIES = 16


@script(beamgen_ops, default_opset=op)
def SharedPromptAttention(  # noqa: N802 - an ONNX operator's name
    query, prompt_key, prompt_value, key, value, attention_bias, scale: float
):
    """Attention over a row's prompt (stored once) and its generated entries.

    query ``[B, H, N, D]``, prompt_key/value ``[B, Hkv, S, D]``, key/value
    ``[B, Hkv, C, D]``, attention_bias ``[B, 1, N, S+C]`` -> ``[B, H, N, D]``.
    H may be a multiple of Hkv (GQA): the standard op handles it. The op holds the scores of
    all heads and queries, so that many queries over many entries go in parts.

    Source: ONNX operator ``Attention``, opset 23.
    """
    new = op.Shape(query, start=2, end=3)
    if new > op.Constant(value_ints=[_FEW_TOKENS]):
        row = op.Concat(op.Shape(query, end=2), op.Shape(attention_bias, start=3), axis=0)
        of_a_query = op.Max(op.ReduceProd(row), op.Constant(value_ints=[1]))
        fitting = op.Constant(value_ints=[_SCORES_AT_ONCE]) / of_a_query
        fewest = op.Constant(value_ints=[_FEWEST_QUERIES])
        at_once = op.Max(fitting, fewest, op.Shape(query, start=3))
        if new > at_once:
            two = op.Constant(value_ints=[2])
            keys = op.Concat(prompt_key, key, axis=2)
            values = op.Concat(prompt_value, value, axis=2)
            first = op.Range(op.Constant(value_int=0), op.Squeeze(new), op.Squeeze(at_once))
            of_none = op.Concat(op.Shape(query, end=2), [0], op.Shape(value, start=3), axis=0)
            attended = op.Expand(op.Constant(value_float=0.0), of_none)
            for part in range(op.Size(first)):
                start = op.Gather(first, op.Reshape(part, op.Constant(value_ints=[1])))
                end = start + at_once
                queries = op.Slice(query, start, end, two)
                bias = op.Slice(attention_bias, start, end, two)
                found = op.Attention(queries, keys, values, bias, scale=scale)
                attended = op.Concat(attended, found, axis=2)
        else:
            attended, _all_keys, _all_values = op.Attention(
                query, key, value, attention_bias, prompt_key, prompt_value, scale=scale
            )
    else:
        # ONNX Runtime takes a past only from those who also ask for the present
        attended, _all_keys, _all_values = op.Attention(
            query, key, value, attention_bias, prompt_key, prompt_value, scale=scale
        )
    return attended
