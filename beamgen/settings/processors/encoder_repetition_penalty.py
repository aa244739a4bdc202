"""Ids of the source become likelier, HF's ``encoder_repetition_penalty``.

HF names it after encoders, whose input it is there; that of a decoder alone is the prompt.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from beamgen.settings.kinds import Number, is_int
from beamgen.settings.parameter import Problem
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.rules import Rules
from beamgen.settings.setting import IDS, SOURCE, Setting, Values


def _out_of_reach(values: Values, rules: Rules) -> Iterator[Problem]:
    """What ``generate`` does to the first rows of a batch only, where its rules are old.

    Source: ``EncoderRepetitionPenaltyLogitsProcessor`` before transformers 5.20, which has a row
    of ids for each prompt, and scores for each beam.
    """
    beams, returned = values["num_beams"], values["num_return_sequences"]
    several = is_int(beams) and is_int(returned) and max(beams, returned) > 1
    if several and values["encoder_repetition_penalty"] != 1 and not rules.penalty_reaches_beams:
        yield (
            "encoder_repetition_penalty with several beams: generate of transformers "
            f"{rules.release}, whose rules are followed, applies it to the first rows of a batch "
            "only",
            "set num_beams and num_return_sequences to 1, or leave encoder_repetition_penalty out",
        )


SETTING = Setting(
    "encoder_repetition_penalty",
    Number(0, math.inf, "1.0 is no penalty", open="low"),
    "above 1 makes ids of the source likely, of a decoder alone those of the prompt",
    default=1.0,
    per_row=True,
    examples=(1.0, 1.4, 0.7),
    reads=(SOURCE,),
    asks=IDS,
    unlike=_out_of_reach,
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import opset23 as op
    from onnxscript import script

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def encoder_repetition_penalty(scores, encoder_input_ids, encoder_repetition_penalty):
        """Multiply the positive scores of ids ``[B, s]`` by the penalty, divide the others.

        Source: ``EncoderRepetitionPenaltyLogitsProcessor``.
        """
        if beamgen_ops.anywhere(op.Not(op.Equal(encoder_repetition_penalty, 1.0))):
            # not below the smallest normal number: HF refuses penalties of 0 or less
            penalty = op.Max(op.Reshape(encoder_repetition_penalty, [-1, 1, 1]), 1.1754944e-38)
            width = op.Shape(encoder_input_ids, start=1)
            shape = op.Concat(op.Shape(scores, end=2), width, axis=0)
            ids = op.Expand(op.Unsqueeze(encoder_input_ids, [1]), shape)  # [B, n, s]
            score = op.GatherElements(scores, ids, axis=2)
            changed = op.Where(score < 0.0, score / penalty, score * penalty)
            processed = op.ScatterElements(scores, ids, changed, axis=2)
        else:
            processed = op.Identity(scores)
        return processed

    return (encoder_repetition_penalty,)


PROCESSOR = Processor((SETTING,), functions)
