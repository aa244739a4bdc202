"""Only the best tokens are drawn from, HF's ``top_k``."""

from __future__ import annotations

from beamgen.settings.kinds import Count
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import WHEN_SAMPLING, Setting

SETTING = Setting(
    "top_k",
    Count(0),
    "draw among that many best tokens, 0: all; sampling only",
    default=50,
    off=0,
    per_row=True,
    heeded=WHEN_SAMPLING,
    option=True,
    examples=(50, 0, 5),
)


def functions() -> Functions:
    """The processor as an ONNX function, and what it calls."""
    from onnxscript import INT64, script
    from onnxscript import opset23 as op

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def top_k(scores, top_k, min_tokens_to_keep):
        """The ``top_k`` best tokens of scores ``[B, n, V]``, and what ties with the last of them.

        0 keeps all.

        Returns: scores and token_ids ``[B, n, N]``.

        Source: ``TopKLogitsWarper``.
        """
        vocab_size = op.Shape(scores, start=2)
        wanted = op.Where(top_k > 0, op.Max(top_k, min_tokens_to_keep), vocab_size)
        wanted = op.Min(wanted, vocab_size)  # [1] or [B]
        most = op.ReduceMax(wanted, keepdims=1)
        # one more than wanted shows whether others tie with the last
        best, index = op.TopK(scores, op.Min(most + 1, vocab_size), axis=2)
        shape = op.Concat(op.Shape(best, end=2), op.Constant(value_ints=[1]), axis=0)
        place = op.Expand(op.Reshape(wanted - 1, [-1, 1, 1]), shape)
        worst = op.GatherElements(best, place, axis=2)  # [B, n, 1]
        beyond = op.Slice(best, most, most + 1, [2])  # [B, n, 1], or [B, n, 0] of all
        if beamgen_ops.anywhere(op.And(beyond >= worst, op.Not(op.IsInf(beyond)))):
            tied = op.And(scores >= worst, op.Not(op.IsInf(scores)))
            counts = op.ReduceSum(op.Cast(tied, to=INT64.dtype), [2], keepdims=0)
            several = op.Max(op.Reshape(op.ReduceMax(counts, keepdims=0), [1]), most)
            _, token_ids = op.TopK(scores, several, axis=2)
        else:
            token_ids = op.Slice(index, [0], most, [2])
        listed = op.GatherElements(scores, token_ids, axis=2)
        warped = op.Where(listed >= worst, listed, op.Constant(value_float=float("-inf")))
        return warped, token_ids

    @script(beamgen_ops, default_opset=op)
    def top_k_in_use(top_k):
        """Whether any row asks for it, a scalar."""
        return beamgen_ops.anywhere(top_k > 0)

    @script(beamgen_ops, default_opset=op)
    def all_tokens(scores):
        """The token ids of scores ``[B, n, V]``, of the same shape."""
        vocabulary = op.Range(0, op.Squeeze(op.Shape(scores, start=2)), 1)
        return op.Expand(op.Unsqueeze(vocabulary, [0, 1]), op.Shape(scores))

    return (
        top_k,
        top_k_in_use,
        all_tokens,
    )


PROCESSOR = Processor((SETTING,), functions)
