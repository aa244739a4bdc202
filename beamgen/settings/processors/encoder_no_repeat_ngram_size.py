"""No n-gram of the prompt comes again, HF's ``encoder_no_repeat_ngram_size``.

HF names it after encoders, whose input it is there; that of a decoder alone is the prompt.
"""

from __future__ import annotations

from beamgen.settings.kinds import Count
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import HISTORY, IDS, SOURCE, Setting

SETTING = Setting(
    "encoder_no_repeat_ngram_size",
    Count(0),
    "no n-gram of the prompt comes again, 0: off",
    default=0,
    per_row=True,
    examples=(0, 1, 2),
    bans=True,
    reads=(HISTORY, SOURCE),
    asks=IDS,
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import INT64, script
    from onnxscript import opset23 as op

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

    @script(beamgen_ops, default_opset=op)
    def no_ngram_of_source(scores, history, source_ids, encoder_no_repeat_ngram_size):
        """-inf on tokens that would complete an n-gram of a source ``[B, s]``, padding included.

        The token at w of it is banned where the n - 1 before it are the last n - 1 of the history.

        Source: ``EncoderNoRepeatNGramLogitsProcessor``.
        """
        if beamgen_ops.anywhere(encoder_no_repeat_ngram_size > 0):
            width = op.Shape(source_ids, start=1)
            shape = op.Concat(op.Shape(scores, end=2), width, axis=0)
            source = op.Expand(op.Unsqueeze(source_ids, [1]), shape)  # [B, n, s]
            longest = op.ReduceMax(encoder_no_repeat_ngram_size, keepdims=1)  # [1]
            size = op.Reshape(encoder_no_repeat_ngram_size, [-1, 1, 1])
            length = op.Shape(history, start=2)
            zero = op.Constant(value_ints=[0])
            reach = op.Max(op.Min(longest - 1, length, width - 1), zero)  # [1]
            back = op.Range(0, op.Squeeze(reach), 1) + 1  # [j] = 1 ... n - 1
            place = op.Range(0, op.Squeeze(width), 1)  # [s]
            origin = op.Unsqueeze(place, [1]) - back  # [s, j], the jth token before each place
            exists = origin >= 0
            before = op.Gather(source, op.Where(exists, origin, 0), axis=2)  # [B, n, s, j]
            last = op.Gather(history, length - back, axis=2)  # [B, n, j]
            same = op.And(op.Equal(before, op.Unsqueeze(last, [2])), exists)
            unlike = op.CumSum(op.Cast(op.Not(same), to=INT64.dtype), op.Constant(value_int=3))
            run = op.ReduceSum(op.Cast(unlike == 0, to=INT64.dtype), [3], keepdims=0)
            repeats = op.And(run >= size - 1, size > 0)  # [B, n, s]
            processed = beamgen_ops.ban(scores, source, repeats)
        else:
            processed = op.Identity(scores)
        return processed

    return encoder_no_repeat_ngram_size, no_ngram_of_source


PROCESSOR = Processor((SETTING,), functions)
