"""Tokens that never come, HF's ``suppress_tokens``."""

from __future__ import annotations

from collections.abc import Iterator

from beamgen.settings.kinds import TokenIds
from beamgen.settings.parameter import Problem
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import Setting, Values


def _conflicts(values: Values) -> Iterator[Problem]:
    for token in (*values["forced_eos_token_id"], values["forced_bos_token_id"]):
        if token in values["suppress_tokens"]:
            yield f"suppress_tokens bans {token}, which is forced too", "take it out of one of them"


SETTING = Setting(
    "suppress_tokens",
    TokenIds(),
    "ids that never come",
    default=(),
    bans=True,
    sample=lambda ids: ids.drawn(20, spared=ids.some[0]),
    conflicts=_conflicts,
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import BOOL, script
    from onnxscript import opset23 as op

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def suppress_tokens(scores, suppress_tokens):
        """-inf on ``suppress_tokens [m]``.

        Source: ``SuppressTokensLogitsProcessor``.
        """
        if op.Squeeze(op.Shape(suppress_tokens)) > 0:
            always = op.Cast(op.Constant(value_ints=[1]), to=BOOL.dtype)
            processed = beamgen_ops.suppress(scores, suppress_tokens, always)
        else:
            processed = op.Identity(scores)
        return processed

    return (suppress_tokens,)


PROCESSOR = Processor((SETTING,), functions)
