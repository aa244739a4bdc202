"""Tokens below a probability that hangs on the entropy are not drawn, HF's ``eta_cutoff``."""

from __future__ import annotations

from beamgen.settings.kinds import Number
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import WHEN_SAMPLING, Setting

SETTING = Setting(
    "eta_cutoff",
    Number(0, 1, "0 keeps all tokens", open="high"),
    "eta sampling's threshold, 0: off; sampling only",
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
    def eta_cutoff(scores, eta_cutoff, min_tokens_to_keep):
        """Remove tokens less likely than ``min(eta, sqrt(eta) * exp(-entropy))``.

        Source: ``EtaLogitsWarper``.
        """
        if beamgen_ops.anywhere(eta_cutoff > 0.0):
            epsilon = op.Max(op.Reshape(eta_cutoff, [-1, 1, 1]), 0.0)
            chaos = op.Exp(op.Neg(beamgen_ops.entropy(scores)))
            eta = op.Min(epsilon, op.Sqrt(epsilon) * chaos)  # [B, n, 1]
            rare = op.Softmax(scores, axis=-1) < eta
            warped = beamgen_ops.without(scores, rare, min_tokens_to_keep)
        else:
            warped = op.Identity(scores)
        return warped

    return (eta_cutoff,)


PROCESSOR = Processor((SETTING,), functions)
