"""What logits warpers call.

The warpers themselves stand in ``beamgen.settings.processors``. A candidate is a token that
may still be drawn. ``top_k`` and ``top_p`` shorten the list of them, and what comes after
works on the short list: scores ``[B, n, N]`` and token_ids ``[B, n, N]``, in no particular
order. A candidate that a warper removes has the score -inf; the list is as long as the row
that needs most. ``min_tokens_to_keep [1]`` is 1, or with beams as many as there are EOS ids
and one more. Parameters come as ``[1]`` or ``[B]``.

Source: ``transformers/generation/logits_process.py``.
"""

from __future__ import annotations

from onnxscript import opset23 as op
from onnxscript import script

from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def best_scores(scores, count):
    """The ``count [1]``-th best score of each list ``[B, n, N]``, as ``[B, n, 1]``."""
    best, _ = op.TopK(scores, op.Min(count, op.Shape(scores, start=2)), axis=2)
    return op.Slice(best, [-1], [9223372036854775807], [2])


@script(beamgen_ops, default_opset=op)
def without(scores, unlikely, min_tokens_to_keep):
    """Remove the candidates that are unlikely, but for the best min_tokens_to_keep of a list."""
    spare = scores < beamgen_ops.best_scores(scores, min_tokens_to_keep)
    removed = op.And(unlikely, spare)
    return op.Where(removed, op.Constant(value_float=float("-inf")), scores)


@script(beamgen_ops, default_opset=op)
def entropy(scores):
    """Of the distribution over scores ``[B, n, N]``, in nats, ``[B, n, 1]``."""
    log_probs = op.LogSoftmax(scores, axis=-1)
    probability = op.Exp(log_probs)
    terms = op.Where(probability > 0.0, probability * log_probs, 0.0)
    return op.Neg(op.ReduceSum(terms, [2]))
