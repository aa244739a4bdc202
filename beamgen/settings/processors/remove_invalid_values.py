"""Scores that are not finite numbers are replaced, HF's ``remove_invalid_values``."""

from __future__ import annotations

from beamgen.settings.kinds import Flag
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import Setting

# What it puts in place of the infinities, `torch.finfo(float32).max`.
_LARGEST = 3.4028234663852886e38

SETTING = Setting(
    "remove_invalid_values",
    Flag(),
    "1 replaces what is not a finite number",
    default=False,
    examples=(False, True),
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import opset23 as op
    from onnxscript import script

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def remove_invalid_values(scores, remove_invalid_values):
        """0 for what is not a number, the largest and smallest numbers for the infinities.

        Source: ``InfNanRemoveLogitsProcessor``.
        """
        if op.Squeeze(remove_invalid_values) != 0:
            numbers = op.Where(op.IsNaN(scores), 0.0, scores)
            processed = op.Clip(numbers, -_LARGEST, _LARGEST)
        else:
            processed = op.Identity(scores)
        return processed

    return (remove_invalid_values,)


PROCESSOR = Processor((SETTING,), functions)
