"""Tokens below a probability are not drawn, HF's ``epsilon_cutoff``."""

from __future__ import annotations

from beamgen.settings.kinds import Number
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import WHEN_SAMPLING, Setting

SETTING = Setting(
    "epsilon_cutoff",
    Number(0, 1, "0 keeps all tokens", open="high"),
    "least probability, 0: none; sampling only",
    default=0.0,
    per_row=True,
    heeded=WHEN_SAMPLING,
    examples=(0.0, 0.01),
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import opset23 as op
    from onnxscript import script

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def epsilon_cutoff(scores, epsilon_cutoff, min_tokens_to_keep):
        """Remove tokens less likely than ``epsilon_cutoff``.

        Source: ``EpsilonLogitsWarper``.
        """
        if beamgen_ops.anywhere(epsilon_cutoff > 0.0):
            rare = op.Softmax(scores, axis=-1) < op.Reshape(epsilon_cutoff, [-1, 1, 1])
            warped = beamgen_ops.without(scores, rare, min_tokens_to_keep)
        else:
            warped = op.Identity(scores)
        return warped

    return (epsilon_cutoff,)


PROCESSOR = Processor((SETTING,), functions)
