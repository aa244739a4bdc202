"""No EOS before a sequence is long enough, HF's ``min_new_tokens`` and ``min_length``."""

from __future__ import annotations

from collections.abc import Iterator

from beamgen.settings.kinds import Count, is_int
from beamgen.settings.parameter import Problem
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import Setting, Values


def _conflicts(values: Values) -> Iterator[Problem]:
    longest, shortest = values["max_new_tokens"], values["min_new_tokens"]
    if is_int(longest) and is_int(shortest) and shortest > longest:
        cause = f"min_new_tokens ({shortest}) is more than max_new_tokens ({longest})"
        yield cause, "lower the one or raise the other"


SETTING = Setting(
    "min_new_tokens",
    Count(0),
    "tokens generated before an EOS may come",
    off=0,
    per_row=True,
    option=True,
    examples=(0, 5),
    bans=True,
    conflicts=_conflicts,
)
MIN_LENGTH = Setting(
    "min_length",
    Count(0),
    "prompt, its padding and generated tokens before an EOS may come",
    default=0,
    in_graph=False,
    option=True,
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import opset23 as op
    from onnxscript import script

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def min_new_tokens(scores, generated_len, eos_token_id, min_new_tokens):
        """-inf on every EOS until ``min_new_tokens`` were generated.

        Source: ``MinNewTokensLengthLogitsProcessor``; ``MinLengthLogitsProcessor`` is
        the same with the prompt counted.
        """
        too_short = min_new_tokens > generated_len
        if beamgen_ops.anywhere(too_short):
            processed = beamgen_ops.suppress(scores, eos_token_id, too_short)
        else:
            processed = op.Identity(scores)
        return processed

    return (min_new_tokens,)


PROCESSOR = Processor(
    (
        SETTING,
        MIN_LENGTH,
    ),
    functions,
    in_some_steps=True,
)
