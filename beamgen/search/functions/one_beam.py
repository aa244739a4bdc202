"""Greedy search and sampling as ONNX functions, after ``GenerationMixin._sample``.

Without beams there is nothing to compare: K chains of tokens go on side by side,
one in greedy search, ``num_return_sequences`` in sampling, and each ends on its
own. Scores are summed log-probabilities under the distribution that was drawn
from, HF's ``compute_transition_scores(..., normalize_logits=True)``.
"""

from __future__ import annotations

from onnxscript import FLOAT, INT64, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def own_places(tokens):
    """The place of each chain among its row's: 0 ... K - 1 in the shape of tokens ``[B, K]``."""
    chain = op.Range(0, op.Squeeze(op.Shape(tokens, start=1)), 1)
    return op.Expand(chain, op.Shape(tokens))


@script(beamgen_ops, default_opset=op)
def take_best(scores):
    """The best token of scores ``[B, 1, V]``.

    Returns: chosen_scores, chosen_tokens, chosen_beams and chosen_log_probs, each
    ``[B, 1]``; a chain has no other score than the token's log-probability.

    Source: ``torch.argmax`` in ``GenerationMixin._sample``.
    """
    index = op.ArgMax(scores, axis=2)  # [B, 1, 1]
    log_probs = op.GatherElements(op.LogSoftmax(scores, axis=-1), index, axis=2)
    chosen_scores, chosen_tokens = op.Squeeze(log_probs, [2]), op.Squeeze(index, [2])
    chosen_beams = beamgen_ops.own_places(chosen_tokens)
    chosen_log_probs = op.Identity(chosen_scores)
    return chosen_scores, chosen_tokens, chosen_beams, chosen_log_probs


@script(beamgen_ops, default_opset=op)
def only_of_numbers(log_probs, scores):
    """Log-probabilities ``[B, K]`` of tokens drawn from scores ``[B, n, V]``.

    They are not a number where the scores hold what is none: nothing may be drawn there.

    Source: ``torch.multinomial`` refuses to draw from such scores.
    """
    not_numbers = op.ReduceMax(op.Cast(op.IsNaN(scores), to=FLOAT.dtype), [2], keepdims=0)
    return op.Where(not_numbers > 0.0, op.Constant(value_float=float("nan")), log_probs)


@script(beamgen_ops, default_opset=op)
def append_to_chains(tokens, log_probs, is_finished, fill_token_id):
    """What each chain is given: its token, or nothing where it has ended; all ``[B, K]``.

    A token of probability 0, which only contradictory settings leave, scores -inf.

    Returns: new_tokens (the fill token where a chain has ended), new_log_probs (0 there)
    and new_beam_indices (-1 there).

    Source: ``GenerationMixin._sample``.
    """
    impossible = op.Constant(value_float=float("-inf"))
    log_prob = op.Where(op.IsNaN(log_probs), impossible, log_probs)
    new_tokens = op.Where(is_finished, fill_token_id, tokens)
    new_log_probs = op.Where(is_finished, 0.0, log_prob)
    numbered = beamgen_ops.numbered_in_batch(beamgen_ops.own_places(tokens), tokens)
    new_beam_indices = op.Where(is_finished, -1, numbered)
    return new_tokens, new_log_probs, new_beam_indices


@script(beamgen_ops, default_opset=op)
def update_chains(
    new_tokens,
    new_log_probs,
    scores_before,
    lengths_before,
    was_finished,
    cur_len,
    eos_token_id,
    max_new_tokens,
    stopped,
):
    """The chains with what was appended to them; all but cur_len and parameters ``[B, K]``.

    Returns: scores, lengths, is_finished, and go_on, a scalar: whether any chain has not
    ended.

    Source: ``GenerationMixin._sample``.
    """
    ends = beamgen_ops.hits_stopping_criteria(
        new_tokens, cur_len, eos_token_id, max_new_tokens, stopped
    )
    is_finished = op.Or(was_finished, ends)
    go_on = op.ReduceMin(op.Cast(is_finished, to=INT64.dtype), keepdims=0) < 1
    scores = scores_before + new_log_probs
    lengths = op.Where(was_finished, lengths_before, cur_len)
    return scores, lengths, is_finished, go_on
