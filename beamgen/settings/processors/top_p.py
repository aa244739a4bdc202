"""Only the likeliest tokens of some total probability are drawn from, HF's ``top_p``."""

from __future__ import annotations

from beamgen.settings.kinds import Number
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import WHEN_SAMPLING, Setting

SETTING = Setting(
    "top_p",
    Number(0, 1, "1.0 keeps all tokens", open="low"),
    "draw among the best of that total; sampling only",
    default=1.0,
    per_row=True,
    heeded=WHEN_SAMPLING,
    option=True,
    examples=(1.0, 0.9, 0.3),
)


def functions() -> Functions:
    """The processor as an ONNX function, and what it calls."""
    from onnxscript import FLOAT, INT64, script
    from onnxscript import opset23 as op

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def top_p(scores, token_ids, top_p, min_tokens_to_keep):
        """The most likely tokens whose probabilities sum to ``top_p``.

        Only what can be among them is sorted: all tokens of probability
        ``(1 - top_p) / N`` or less together do not reach ``1 - top_p``.

        Returns: scores and token_ids of as many candidates as some row needs.

        Source: ``TopPLogitsWarper``.
        """
        below = 1.0 - op.Max(op.Reshape(top_p, [-1, 1, 1]), 0.0)  # [B or 1, 1, 1]
        on = below > 0.0
        probability = op.Softmax(scores, axis=-1)
        size = op.Shape(scores, start=2)
        hopeless = below / op.Cast(size, to=FLOAT.dtype)
        possible = op.Or(probability > hopeless, op.Not(on))
        counts = op.ReduceSum(op.Cast(possible, to=INT64.dtype), [2], keepdims=0)
        longest = op.Reshape(op.ReduceMax(counts, keepdims=0), [1])
        kept = op.Min(op.Max(longest, min_tokens_to_keep), size)
        best, index = op.TopK(scores, kept, axis=2)
        sorted_probability = op.GatherElements(probability, index, axis=2)
        rest = op.ReduceSum(probability, [2]) - op.ReduceSum(sorted_probability, [2])
        # of the token and all less likely ones, as HF's ascending order counts
        cumulative = op.CumSum(sorted_probability, op.Constant(value_int=2), reverse=1) + rest
        rank = op.Range(0, op.Squeeze(kept), 1)
        removable = op.And(on, rank >= min_tokens_to_keep)
        removed = op.And(cumulative <= below, removable)
        warped = op.Where(removed, op.Constant(value_float=float("-inf")), best)
        return warped, op.GatherElements(token_ids, index, axis=2)

    @script(beamgen_ops, default_opset=op)
    def top_p_in_use(top_p):
        """Whether any row asks for it, a scalar."""
        return beamgen_ops.anywhere(top_p < 1.0)

    return (
        top_p,
        top_p_in_use,
    )


PROCESSOR = Processor((SETTING,), functions)
