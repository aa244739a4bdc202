"""Tokens much less likely than the likeliest are not drawn, HF's ``min_p``."""

from __future__ import annotations

from beamgen.settings.kinds import Number
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import WHEN_SAMPLING, Setting

SETTING = Setting(
    "min_p",
    Number(0, 1, "0 keeps all tokens"),
    "least probability over the largest; sampling only",
    default=0.0,
    per_row=True,
    heeded=WHEN_SAMPLING,
    examples=(0.0, 0.05),
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import opset23 as op
    from onnxscript import script

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def min_p(scores, min_p, min_tokens_to_keep):
        """Remove what is less likely than ``min_p`` times the likeliest.

        Source: ``MinPLogitsWarper``.
        """
        if beamgen_ops.anywhere(min_p > 0.0):
            probability = op.Softmax(scores, axis=-1)
            least = op.Reshape(min_p, [-1, 1, 1]) * op.ReduceMax(probability, [2])
            warped = beamgen_ops.without(scores, probability < least, min_tokens_to_keep)
        else:
            warped = op.Identity(scores)
        return warped

    return (min_p,)


PROCESSOR = Processor((SETTING,), functions)
