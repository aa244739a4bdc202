"""Only tokens about as surprising as is expected are drawn, HF's ``typical_p``."""

from __future__ import annotations

from beamgen.settings.kinds import Number
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import WHEN_SAMPLING, Setting

SETTING = Setting(
    "typical_p",
    Number(0, 1, "1.0 keeps all tokens", open="low"),
    "total of the most typical; sampling only",
    default=1.0,
    per_row=True,
    heeded=WHEN_SAMPLING,
    examples=(1.0, 0.8),
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import INT64, script
    from onnxscript import opset23 as op

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def typical_p(scores, typical_p, min_tokens_to_keep):
        """Keep the tokens whose surprisal is nearest to the expected one, ``typical_p`` of mass.

        Source: ``TypicalLogitsWarper``.
        """
        if beamgen_ops.anywhere(typical_p < 1.0):
            mass = op.Reshape(typical_p, [-1, 1, 1])
            log_probs = op.LogSoftmax(scores, axis=-1)
            shifted = op.Abs(op.Neg(log_probs) - beamgen_ops.entropy(scores))
            size = op.Shape(scores, start=2)
            nearest, index = op.TopK(shifted, size, axis=2, largest=0)
            probability = op.GatherElements(op.Exp(log_probs), index, axis=2)
            cumulative = op.CumSum(probability, op.Constant(value_int=2))
            before = op.ReduceSum(op.Cast(cumulative < mass, to=INT64.dtype), [2])  # [B, n, 1]
            last = op.Min(op.Max(before, min_tokens_to_keep - 1), size - 1)
            farthest = op.GatherElements(nearest, last, axis=2)
            removed = op.And(shifted > farthest, mass < 1.0)
            warped = op.Where(removed, op.Constant(value_float=float("-inf")), scores)
        else:
            warped = op.Identity(scores)
        return warped

    return (typical_p,)


PROCESSOR = Processor((SETTING,), functions)
