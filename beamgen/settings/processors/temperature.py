"""What is drawn from becomes sharper or flatter, HF's ``temperature``."""

from __future__ import annotations

import math

from beamgen.settings.kinds import Number
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import WHEN_SAMPLING, Setting

# A temperature of 0 or less is refused by HF; the bare file takes this one instead.
_COLDEST = 1e-6

SETTING = Setting(
    "temperature",
    Number(0, math.inf, "near 0 is greedy search: set do_sample to false", open="low"),
    "divides scores; sampling only",
    default=1.0,
    per_row=True,
    heeded=WHEN_SAMPLING,
    option=True,
    examples=(1.0, 0.7, 1.5),
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import opset23 as op
    from onnxscript import script

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def temperature(scores, temperature):
        """Scores ``[B, n, N]`` divided by the temperature.

        Source: ``TemperatureLogitsWarper``.
        """
        if beamgen_ops.anywhere(op.Not(op.Equal(temperature, 1.0))):
            warped = scores / op.Max(op.Reshape(temperature, [-1, 1, 1]), _COLDEST)
        else:
            warped = op.Identity(scores)
        return warped

    return (temperature,)


PROCESSOR = Processor((SETTING,), functions)
