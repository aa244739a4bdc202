"""The first token after a prompt of one token is given, HF's ``forced_bos_token_id``."""

from __future__ import annotations

from beamgen.settings.kinds import OptionalTokenId
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import HISTORY, Setting

SETTING = Setting(
    "forced_bos_token_id",
    OptionalTokenId(),
    "the first token after a prompt of one, or none",
    sample=lambda ids: ids.some[0],
    reads=(HISTORY,),
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import opset23 as op
    from onnxscript import script

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def forced_bos_token_id(scores, history, forced_bos_token_id):
        """The first token after a prompt of one token has to be ``forced_bos_token_id``.

        Source: ``ForcedBOSTokenLogitsProcessor``.
        """
        now = op.And(op.Shape(history, start=2) == 1, op.Shape(forced_bos_token_id) > 0)  # [1]
        if op.Squeeze(now):
            processed = beamgen_ops.force(scores, forced_bos_token_id, now)
        else:
            processed = op.Identity(scores)
        return processed

    return (forced_bos_token_id,)


PROCESSOR = Processor((SETTING,), functions)
