"""Greedy search and sampling as ONNX functions, after ``GenerationMixin._sample``.

Without beams there is nothing to compare: K chains of tokens go on side by side,
one in greedy search, ``num_return_sequences`` in sampling, and each ends on its
own. Scores are summed log-probabilities under the distribution that was drawn
from, HF's ``compute_transition_scores(..., normalize_logits=True)``.
"""

from __future__ import annotations

from onnxscript import INT64, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def own_places(tokens):
    """0 ... K - 1 for each row, the shape of tokens ``[B, K]``: every chain follows itself."""
    chain = op.Range(0, op.Squeeze(op.Shape(tokens, start=1)), 1)
    return op.Expand(chain, op.Shape(tokens))


@script(beamgen_ops, default_opset=op)
def take_best(scores):
    """The best token of scores ``[B, 1, V]``.

    Returns: its log-probability, the token, its chain, and its log-probability, each ``[B, 1]``.

    Source: ``torch.argmax`` in ``GenerationMixin._sample``.
    """
    index = op.ArgMax(scores, axis=2)  # [B, 1, 1]
    log_probs = op.GatherElements(op.LogSoftmax(scores, axis=-1), index, axis=2)
    log_prob, token = op.Squeeze(log_probs, [2]), op.Squeeze(index, [2])
    return log_prob, token, beamgen_ops.own_places(token), op.Identity(log_prob)


@script(beamgen_ops, default_opset=op)
def update_chains(
    tokens,
    log_probs,
    scores,
    lengths,
    is_finished,
    cur_len,
    eos_token_id,
    max_new_tokens,
    fill_token_id,
):
    """Append to the chains that have not ended; all but cur_len and parameters ``[B, K]``.

    A token of probability 0, which only contradictory settings leave, scores -inf.

    Returns: tokens (the fill token where a chain has ended), their log-probabilities
    (0 there) and chains (-1 there), scores, lengths, is_finished, and whether any
    chain goes on, a scalar.

    Source: ``GenerationMixin._sample``.
    """
    impossible = op.Constant(value_float=float("-inf"))
    log_prob = op.Where(op.IsNaN(log_probs), impossible, log_probs)
    appended = op.Where(is_finished, fill_token_id, tokens)
    added = op.Where(is_finished, 0.0, log_prob)
    ends = beamgen_ops.hits_stopping_criteria(appended, cur_len, eos_token_id, max_new_tokens)
    finished = op.Or(is_finished, ends)
    numbered = beamgen_ops.numbered_in_batch(beamgen_ops.own_places(tokens), tokens)
    go_on = op.ReduceMin(op.Cast(finished, to=INT64.dtype), keepdims=0) < 1
    return (
        appended,
        added,
        op.Where(is_finished, -1, numbered),
        scores + added,
        op.Where(is_finished, lengths, cur_len),
        finished,
        go_on,
    )
