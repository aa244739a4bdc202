"""The last token at ``max_new_tokens`` is given, HF's ``forced_eos_token_id``."""

from __future__ import annotations

from beamgen.settings.kinds import TokenIds
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import Setting

SETTING = Setting(
    "forced_eos_token_id",
    TokenIds(),
    "what the last token at max_new_tokens must be",
    default=(),
    sample=lambda ids: ids.eos[:1],
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import opset23 as op
    from onnxscript import script

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def forced_eos_token_id(scores, generated_len, forced_eos_token_id, max_new_tokens):
        """The last token has to be one of ``forced_eos_token_id [m]``.

        Source: ``ForcedEOSTokenLogitsProcessor``.
        """
        last = max_new_tokens - 1 == generated_len
        now = op.And(last, op.Shape(forced_eos_token_id) > 0)
        if beamgen_ops.anywhere(now):
            processed = beamgen_ops.force(scores, forced_eos_token_id, now)
        else:
            processed = op.Identity(scores)
        return processed

    return (forced_eos_token_id,)


PROCESSOR = Processor((SETTING,), functions)
