"""Logits processors, in the order of HF's ``_get_logits_processor``.

They act on log-probabilities after log_softmax, as HF's beam mode has it, and do
not renormalise.
"""

from __future__ import annotations

from onnxscript import opset23 as op
from onnxscript import script

from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def min_new_tokens_length(log_probs, generated_len, eos_token_id, min_new_tokens):
    """-inf on every end-of-sequence id until ``min_new_tokens`` were generated.

    log_probs ``[B, n, V]``, generated_len ``[1]`` without the token to come,
    eos_token_id ``[E]``, min_new_tokens ``[1]`` or ``[B]``.

    Source: ``MinNewTokensLengthLogitsProcessor``,
    ``transformers/generation/logits_process.py``.
    """
    too_short = op.Reshape(min_new_tokens, [-1, 1, 1]) > generated_len  # [B or 1, 1, 1]
    banned = op.Where(too_short, op.Constant(value_float=float("-inf")), 0.0)
    shape = op.Concat(op.Shape(log_probs, end=2), op.Shape(eos_token_id), axis=0)  # [B, n, E]
    index = op.Expand(op.Reshape(eos_token_id, [1, 1, -1]), shape)
    return op.ScatterElements(log_probs, index, op.Expand(banned, shape), axis=2, reduction="add")
