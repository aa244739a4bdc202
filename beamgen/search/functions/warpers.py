"""What sampling does to scores: HF's logits warpers, on candidates.

A candidate is a token that may still be drawn. ``top_k`` and ``top_p`` shorten the
list of them, and what comes after works on the short list: scores ``[B, n, N]``
and token_ids ``[B, n, N]``, in no particular order. A candidate that a warper
removes has the score -inf; the list is as long as the row that needs most.
``min_tokens_to_keep [1]`` is 1, or with beams as many as there are EOS ids and
one more. Parameters come as ``[1]`` or ``[B]``.

Source: ``transformers/generation/logits_process.py``.
"""

from __future__ import annotations

from onnxscript import FLOAT, INT64, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops

# A temperature of 0 or less is refused by HF; the bare file takes this one instead.
_COLDEST = 1e-6


@script(beamgen_ops, default_opset=op)
def temperature(scores, temperature):
    """Scores ``[B, n, N]`` divided by the temperature.

    Source: ``TemperatureLogitsWarper``.
    """
    if beamgen_ops.anywhere(op.Not(op.Equal(temperature, 1.0))):
        warped = scores / op.Max(op.Reshape(temperature, [-1, 1, 1]), _COLDEST)
    else:
        warped = op.Identity(scores)
    return warped


@script(beamgen_ops, default_opset=op)
def best_scores(scores, count):
    """The ``count [1]``-th best score of each list ``[B, n, N]``, as ``[B, n, 1]``."""
    best, _ = op.TopK(scores, op.Min(count, op.Shape(scores, start=2)), axis=2)
    return op.Slice(best, [-1], [9223372036854775807], [2])


@script(beamgen_ops, default_opset=op)
def top_k_in_use(top_k):
    """Whether any row asks for it, a scalar."""
    return beamgen_ops.anywhere(top_k > 0)


@script(beamgen_ops, default_opset=op)
def all_tokens(scores):
    """The token ids of scores ``[B, n, V]``, of the same shape."""
    vocabulary = op.Range(0, op.Squeeze(op.Shape(scores, start=2)), 1)
    return op.Expand(op.Unsqueeze(vocabulary, [0, 1]), op.Shape(scores))


@script(beamgen_ops, default_opset=op)
def top_k(scores, top_k, min_tokens_to_keep):
    """The ``top_k`` best tokens of scores ``[B, n, V]``, and what ties with the last of them.

    0 keeps all.

    Returns: scores and token_ids ``[B, n, N]``.

    Source: ``TopKLogitsWarper``.
    """
    vocab_size = op.Shape(scores, start=2)
    wanted = op.Where(top_k > 0, op.Max(top_k, min_tokens_to_keep), vocab_size)
    wanted = op.Min(wanted, vocab_size)  # [1] or [B]
    most = op.ReduceMax(wanted, keepdims=1)
    # one more than wanted shows whether others tie with the last
    best, index = op.TopK(scores, op.Min(most + 1, vocab_size), axis=2)
    shape = op.Concat(op.Shape(best, end=2), op.Constant(value_ints=[1]), axis=0)
    place = op.Expand(op.Reshape(wanted - 1, [-1, 1, 1]), shape)
    worst = op.GatherElements(best, place, axis=2)  # [B, n, 1]
    beyond = op.Slice(best, most, most + 1, [2])  # [B, n, 1], or [B, n, 0] of all
    if beamgen_ops.anywhere(op.And(beyond >= worst, op.Not(op.IsInf(beyond)))):
        tied = op.And(scores >= worst, op.Not(op.IsInf(scores)))
        counts = op.ReduceSum(op.Cast(tied, to=INT64.dtype), [2], keepdims=0)
        several = op.Max(op.Reshape(op.ReduceMax(counts, keepdims=0), [1]), most)
        _, token_ids = op.TopK(scores, several, axis=2)
    else:
        token_ids = op.Slice(index, [0], most, [2])
    listed = op.GatherElements(scores, token_ids, axis=2)
    warped = op.Where(listed >= worst, listed, op.Constant(value_float=float("-inf")))
    return warped, token_ids


@script(beamgen_ops, default_opset=op)
def top_p_in_use(top_p):
    """Whether any row asks for it, a scalar."""
    return beamgen_ops.anywhere(top_p < 1.0)


@script(beamgen_ops, default_opset=op)
def top_p(scores, token_ids, top_p, min_tokens_to_keep):
    """The most likely tokens whose probabilities sum to ``top_p``.

    Only what can be among them is sorted: all tokens of probability
    ``(1 - top_p) / N`` or less together do not reach ``1 - top_p``.

    Returns: scores and token_ids of as many candidates as some row needs.

    Source: ``TopPLogitsWarper``.
    """
    below = 1.0 - op.Max(op.Reshape(top_p, [-1, 1, 1]), 0.0)  # [B or 1, 1, 1]
    on = below > 0.0
    probability = op.Softmax(scores, axis=-1)
    size = op.Shape(scores, start=2)
    hopeless = below / op.Cast(size, to=FLOAT.dtype)
    possible = op.Or(probability > hopeless, op.Not(on))
    counts = op.ReduceSum(op.Cast(possible, to=INT64.dtype), [2], keepdims=0)
    longest = op.Reshape(op.ReduceMax(counts, keepdims=0), [1])
    kept = op.Min(op.Max(longest, min_tokens_to_keep), size)
    best, index = op.TopK(scores, kept, axis=2)
    sorted_probability = op.GatherElements(probability, index, axis=2)
    rest = op.ReduceSum(probability, [2]) - op.ReduceSum(sorted_probability, [2])
    # of the token and all less likely ones, as HF's ascending order counts
    cumulative = op.CumSum(sorted_probability, op.Constant(value_int=2), reverse=1) + rest
    rank = op.Range(0, op.Squeeze(kept), 1)
    removable = op.And(on, rank >= min_tokens_to_keep)
    removed = op.And(cumulative <= below, removable)
    warped = op.Where(removed, op.Constant(value_float=float("-inf")), best)
    return warped, op.GatherElements(token_ids, index, axis=2)


@script(beamgen_ops, default_opset=op)
def without(scores, unlikely, min_tokens_to_keep):
    """Remove the candidates that are unlikely, but for the best min_tokens_to_keep of a list."""
    spare = scores < beamgen_ops.best_scores(scores, min_tokens_to_keep)
    removed = op.And(unlikely, spare)
    return op.Where(removed, op.Constant(value_float=float("-inf")), scores)


@script(beamgen_ops, default_opset=op)
def min_p(scores, min_p, min_tokens_to_keep):
    """Remove what is less likely than ``min_p`` times the likeliest.

    Source: ``MinPLogitsWarper``.
    """
    if beamgen_ops.anywhere(min_p > 0.0):
        probability = op.Softmax(scores, axis=-1)
        least = op.Reshape(min_p, [-1, 1, 1]) * op.ReduceMax(probability, [2])
        warped = beamgen_ops.without(scores, probability < least, min_tokens_to_keep)
    else:
        warped = op.Identity(scores)
    return warped


@script(beamgen_ops, default_opset=op)
def entropy(scores):
    """Of the distribution over scores ``[B, n, N]``, in nats, ``[B, n, 1]``."""
    log_probs = op.LogSoftmax(scores, axis=-1)
    probability = op.Exp(log_probs)
    terms = op.Where(probability > 0.0, probability * log_probs, 0.0)
    return op.Neg(op.ReduceSum(terms, [2]))


@script(beamgen_ops, default_opset=op)
def typical_p(scores, typical_p, min_tokens_to_keep):
    """Keep the tokens whose surprisal is nearest to the expected one, ``typical_p`` of mass.

    Source: ``TypicalLogitsWarper``.
    """
    if beamgen_ops.anywhere(typical_p < 1.0):
        mass = op.Reshape(typical_p, [-1, 1, 1])
        log_probs = op.LogSoftmax(scores, axis=-1)
        shifted = op.Abs(op.Neg(log_probs) - beamgen_ops.entropy(scores))
        size = op.Shape(scores, start=2)
        nearest, index = op.TopK(shifted, size, axis=2, largest=0)
        probability = op.GatherElements(op.Exp(log_probs), index, axis=2)
        cumulative = op.CumSum(probability, op.Constant(value_int=2))
        before = op.ReduceSum(op.Cast(cumulative < mass, to=INT64.dtype), [2])  # [B, n, 1]
        last = op.Min(op.Max(before, min_tokens_to_keep - 1), size - 1)
        farthest = op.GatherElements(nearest, last, axis=2)
        removed = op.And(shifted > farthest, mass < 1.0)
        warped = op.Where(removed, op.Constant(value_float=float("-inf")), scores)
    else:
        warped = op.Identity(scores)
    return warped


@script(beamgen_ops, default_opset=op)
def epsilon_cutoff(scores, epsilon_cutoff, min_tokens_to_keep):
    """Remove tokens less likely than ``epsilon_cutoff``.

    Source: ``EpsilonLogitsWarper``.
    """
    if beamgen_ops.anywhere(epsilon_cutoff > 0.0):
        rare = op.Softmax(scores, axis=-1) < op.Reshape(epsilon_cutoff, [-1, 1, 1])
        warped = beamgen_ops.without(scores, rare, min_tokens_to_keep)
    else:
        warped = op.Identity(scores)
    return warped


@script(beamgen_ops, default_opset=op)
def eta_cutoff(scores, eta_cutoff, min_tokens_to_keep):
    """Remove tokens less likely than ``min(eta, sqrt(eta) * exp(-entropy))``.

    Source: ``EtaLogitsWarper``.
    """
    if beamgen_ops.anywhere(eta_cutoff > 0.0):
        epsilon = op.Max(op.Reshape(eta_cutoff, [-1, 1, 1]), 0.0)
        chaos = op.Exp(op.Neg(beamgen_ops.entropy(scores)))
        eta = op.Min(epsilon, op.Sqrt(epsilon) * chaos)  # [B, n, 1]
        rare = op.Softmax(scores, axis=-1) < eta
        warped = beamgen_ops.without(scores, rare, min_tokens_to_keep)
    else:
        warped = op.Identity(scores)
    return warped
