"""No n-gram comes twice, HF's ``no_repeat_ngram_size``."""

from __future__ import annotations

from beamgen.settings.kinds import Count
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import HISTORY, Setting

SETTING = Setting(
    "no_repeat_ngram_size",
    Count(0),
    "no n-gram comes twice, 0: off",
    default=0,
    per_row=True,
    option=True,
    examples=(0, 1, 2, 3),
    bans=True,
    reads=(HISTORY,),
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import opset23 as op
    from onnxscript import script

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def no_repeat_ngram_size(scores, history, no_repeat_ngram_size):
        """-inf on tokens that would complete an n-gram which the history holds already.

        Source: ``NoRepeatNGramLogitsProcessor``.
        """
        if beamgen_ops.anywhere(no_repeat_ngram_size > 0):
            repeats = beamgen_ops.completes_ngram(history, no_repeat_ngram_size)
            processed = beamgen_ops.ban(scores, history, repeats)
        else:
            processed = op.Identity(scores)
        return processed

    return (no_repeat_ngram_size,)


PROCESSOR = Processor((SETTING,), functions)
