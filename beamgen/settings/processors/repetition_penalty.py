"""Ids that came before become less likely, HF's ``repetition_penalty``."""

from __future__ import annotations

import math

from beamgen.settings.kinds import Number
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import HISTORY, Setting

SETTING = Setting(
    "repetition_penalty",
    Number(0, math.inf, "1.0 is no penalty", open="low"),
    "above 1 makes ids seen before unlikely",
    default=1.0,
    per_row=True,
    option=True,
    examples=(1.0, 1.3, 0.8),
    reads=(HISTORY,),
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import opset23 as op
    from onnxscript import script

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def repetition_penalty(scores, history, repetition_penalty):
        """Divide the positive scores of ids in the history by the penalty, multiply the others.

        Source: ``RepetitionPenaltyLogitsProcessor``.
        """
        if beamgen_ops.anywhere(op.Not(op.Equal(repetition_penalty, 1.0))):
            # not below the smallest normal number: HF refuses penalties of 0 or less
            penalty = op.Max(op.Reshape(repetition_penalty, [-1, 1, 1]), 1.1754944e-38)
            score = op.GatherElements(scores, history, axis=2)  # [B, n, T]
            changed = op.Where(score < 0.0, score * penalty, score / penalty)
            processed = op.ScatterElements(scores, history, changed, axis=2)
        else:
            processed = op.Identity(scores)
        return processed

    return (repetition_penalty,)


PROCESSOR = Processor((SETTING,), functions)
