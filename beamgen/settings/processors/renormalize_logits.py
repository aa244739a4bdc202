"""Processed scores become log-probabilities again, HF's ``renormalize_logits``."""

from __future__ import annotations

from beamgen.settings.kinds import Flag
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import Setting

SETTING = Setting(
    "renormalize_logits",
    Flag(),
    "1 makes processed probabilities sum to 1",
    default=False,
    examples=(False, True),
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import opset23 as op
    from onnxscript import script

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def renormalize_logits(scores, renormalize_logits):
        """Log-probabilities that sum to 1 again; the last processor of all.

        Where every token is banned all stay so: HF has 0 / 0 there.

        Source: ``LogitNormalization``.
        """
        if op.Squeeze(renormalize_logits) != 0:
            normalized = op.LogSoftmax(scores, axis=-1)
            impossible = op.Constant(value_float=float("-inf"))
            processed = op.Where(op.IsNaN(normalized), impossible, normalized)
        else:
            processed = op.Identity(scores)
        return processed

    return (renormalize_logits,)


PROCESSOR = Processor((SETTING,), functions)
