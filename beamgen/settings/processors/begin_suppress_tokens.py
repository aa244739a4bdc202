"""Tokens that do not come first, HF's ``begin_suppress_tokens``."""

from __future__ import annotations

from collections.abc import Iterator

from beamgen.settings.kinds import TokenIds
from beamgen.settings.parameter import Problem
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import HISTORY, Setting, Values


def _conflicts(values: Values) -> Iterator[Problem]:
    forced = values["forced_eos_token_id"]
    if values["max_new_tokens"] == 1 and forced and {*forced} <= {*values["begin_suppress_tokens"]}:
        yield (
            f"begin_suppress_tokens bans {forced[0]}, which is forced as the first and only token",
            "raise max_new_tokens, or take it out of begin_suppress_tokens",
        )


SETTING = Setting(
    "begin_suppress_tokens",
    TokenIds(),
    "ids that do not come first",
    default=(),
    bans=True,
    sample=lambda ids: ids.drawn(30),
    reads=(HISTORY,),
    conflicts=_conflicts,
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import INT64, script
    from onnxscript import opset23 as op

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def begin_suppress_tokens(
        scores, history, generated_len, begin_suppress_tokens, forced_bos_token_id
    ):
        """-inf on ``begin_suppress_tokens [m]`` for the first token, or the one after a forced BOS.

        Source: ``SuppressTokensAtBeginLogitsProcessor`` and its begin_index in
        ``GenerationMixin._get_logits_processor``.
        """
        length = op.Shape(history, start=2)
        forced = op.Slice(  # [B or 1], also where an empty list was fed
            op.Concat(forced_bos_token_id, op.Constant(value_ints=[-1]), axis=0),
            op.Constant(value_ints=[0]),
            op.Max(op.Shape(forced_bos_token_id), op.Constant(value_ints=[1])),
        )
        is_later = op.And(length - generated_len == 1, forced >= 0)  # [B or 1]
        begins = generated_len == op.Cast(is_later, to=INT64.dtype)
        now = op.And(begins, op.Shape(begin_suppress_tokens) > 0)  # [B or 1]
        if beamgen_ops.anywhere(now):
            processed = beamgen_ops.suppress(scores, begin_suppress_tokens, now)
        else:
            processed = op.Identity(scores)
        return processed

    return (begin_suppress_tokens,)


PROCESSOR = Processor((SETTING,), functions)
