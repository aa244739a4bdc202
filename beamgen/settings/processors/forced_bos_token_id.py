"""The first token after a prompt of one token is given, HF's ``forced_bos_token_id``."""

from __future__ import annotations

from beamgen.settings.kinds import OptionalTokenId
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import HISTORY, Setting

SETTING = Setting(
    "forced_bos_token_id",
    OptionalTokenId(),
    "the first token after a prompt of one, -1: none",
    per_row=True,
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

        forced_bos_token_id ``[B or 1]``, -1 where there is none; or ``[0]``, none at all.

        Source: ``ForcedBOSTokenLogitsProcessor``.
        """
        now = op.And(op.Shape(history, start=2) == 1, forced_bos_token_id >= 0)  # [B or 1]
        if beamgen_ops.anywhere(now):
            vocabulary = op.Range(0, op.Squeeze(op.Shape(scores, start=2)), 1)  # [V]
            is_forced = op.Equal(vocabulary, op.Reshape(forced_bos_token_id, [-1, 1, 1]))
            forced = op.Where(is_forced, 0.0, op.Constant(value_float=float("-inf")))
            processed = op.Where(op.Reshape(now, [-1, 1, 1]), forced, scores)
        else:
            processed = op.Identity(scores)
        return processed

    return (forced_bos_token_id,)


PROCESSOR = Processor((SETTING,), functions)
