"""No n-gram of the prompt comes again, HF's ``encoder_no_repeat_ngram_size``.

HF names it after encoders, whose input it is there; a decoder's is the prompt.
"""

from __future__ import annotations

from beamgen.settings.kinds import Count
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import Setting

SETTING = Setting(
    "encoder_no_repeat_ngram_size",
    Count(0),
    "no n-gram of the prompt comes again, 0: off",
    default=0,
    per_row=True,
    examples=(0, 1, 2),
    bans=True,
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import opset23 as op
    from onnxscript import script

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def encoder_no_repeat_ngram_size(scores, history, input_ids, encoder_no_repeat_ngram_size):
        """-inf on tokens that would complete an n-gram of the prompt, padding included.

        Source: ``EncoderNoRepeatNGramLogitsProcessor``.
        """
        if beamgen_ops.anywhere(encoder_no_repeat_ngram_size > 0):
            prompt_len = op.Shape(input_ids, start=1)
            repeats = beamgen_ops.completes_ngram(history, encoder_no_repeat_ngram_size)
            within = op.Slice(repeats, [0], prompt_len, [2])  # [B, n, S]
            prompt = op.Slice(history, [0], prompt_len, [2])
            processed = beamgen_ops.ban(scores, prompt, within)
        else:
            processed = op.Identity(scores)
        return processed

    return (encoder_no_repeat_ngram_size,)


PROCESSOR = Processor((SETTING,), functions)
