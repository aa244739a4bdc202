"""Random numbers that every machine draws alike: Philox4x32-10 in integer operators.

A counter-based generator has no state: a number is a function of a key and a
counter. Here the key is the row's seed and the counter is (token id, beam, step),
so that a draw depends neither on the other rows nor on how many candidates were
left, and is the same in every language.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011),
and Random123's ``philox.h``. 32-bit words stand in uint64 tensors, whose products
hold all 64 bits.
"""

from __future__ import annotations

from onnxscript import DOUBLE, UINT64, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops

_WORD = 0xFFFFFFFF
# Multipliers and key increments of Philox4x32, a word's mask and its bits.
_CONSTANTS = [0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85, _WORD, 32]
_TO_UNIT = 2.0**-32


@script(beamgen_ops, default_opset=op)
def philox_round(c0, c1, c2, c3, k0, k1, constants):
    """One round of Philox on four counter words, and the next round's key.

    constants uint64 ``[6]``: the multipliers, the key's increments, a word's mask
    and its bits.
    """
    m0, m1, w0, w1, word, bits = op.Split(constants, num_outputs=6)
    product0, product1 = c0 * m0, c2 * m1
    high0 = op.BitShift(product0, bits, direction="RIGHT")
    high1 = op.BitShift(product1, bits, direction="RIGHT")
    return (
        op.BitwiseXor(op.BitwiseXor(high1, c1), k0),
        op.BitwiseAnd(product1, word),
        op.BitwiseXor(op.BitwiseXor(high0, c3), k1),
        op.BitwiseAnd(product0, word),
        op.BitwiseAnd(k0 + w0, word),
        op.BitwiseAnd(k1 + w1, word),
    )


@script(beamgen_ops, default_opset=op)
def philox(c0, c1, c2, c3, k0, k1):
    """Four random words of four counter and two key words, uint64 of shapes that broadcast."""
    constants = op.Cast(op.Constant(value_ints=_CONSTANTS), to=UINT64.dtype)
    c0, c1, c2, c3, k0, k1 = beamgen_ops.philox_round(c0, c1, c2, c3, k0, k1, constants)
    c0, c1, c2, c3, k0, k1 = beamgen_ops.philox_round(c0, c1, c2, c3, k0, k1, constants)
    c0, c1, c2, c3, k0, k1 = beamgen_ops.philox_round(c0, c1, c2, c3, k0, k1, constants)
    c0, c1, c2, c3, k0, k1 = beamgen_ops.philox_round(c0, c1, c2, c3, k0, k1, constants)
    c0, c1, c2, c3, k0, k1 = beamgen_ops.philox_round(c0, c1, c2, c3, k0, k1, constants)
    c0, c1, c2, c3, k0, k1 = beamgen_ops.philox_round(c0, c1, c2, c3, k0, k1, constants)
    c0, c1, c2, c3, k0, k1 = beamgen_ops.philox_round(c0, c1, c2, c3, k0, k1, constants)
    c0, c1, c2, c3, k0, k1 = beamgen_ops.philox_round(c0, c1, c2, c3, k0, k1, constants)
    c0, c1, c2, c3, k0, k1 = beamgen_ops.philox_round(c0, c1, c2, c3, k0, k1, constants)
    c0, c1, c2, c3, k0, k1 = beamgen_ops.philox_round(c0, c1, c2, c3, k0, k1, constants)
    return c0, c1, c2, c3


@script(beamgen_ops, default_opset=op)
def row_seeds(seed, batch):
    """A seed for each of ``batch [1]`` rows: ``[B]`` seeds as given, one seed counted up."""
    row = op.Range(0, op.Squeeze(batch), 1)
    return seed + op.Where(op.Shape(seed) == 1, row, 0)


@script(beamgen_ops, default_opset=op)
def uniform(seed, step, token_ids):
    """A number in (0, 1) for each token id ``[B, K, N]``: double, a multiple of 2**-33.

    seed int64 ``[1]`` or ``[B]``; step ``[1]`` counts the tokens generated before.
    """
    word = op.Cast(op.Constant(value_int=_WORD), to=UINT64.dtype)
    bits = op.Cast(op.Constant(value_int=32), to=UINT64.dtype)
    seeds = beamgen_ops.row_seeds(seed, op.Shape(token_ids, end=1))
    key = op.Reshape(op.Cast(seeds, to=UINT64.dtype), [-1, 1, 1])
    beam = op.Range(0, op.Squeeze(op.Shape(token_ids, start=1, end=2)), 1)
    number, _w1, _w2, _w3 = beamgen_ops.philox(
        op.Cast(token_ids, to=UINT64.dtype),
        op.Cast(op.Unsqueeze(beam, [0, 2]), to=UINT64.dtype),
        op.Cast(op.Reshape(step, [1, 1, 1]), to=UINT64.dtype),
        op.Cast(op.Constant(value_int=0), to=UINT64.dtype),
        op.BitwiseAnd(key, word),
        op.BitShift(key, bits, direction="RIGHT"),
    )
    middle = op.Cast(number, to=DOUBLE.dtype) + op.Cast(0.5, to=DOUBLE.dtype)
    return middle * op.Cast(op.Constant(value_float=_TO_UNIT), to=DOUBLE.dtype)


@script(beamgen_ops, default_opset=op)
def perturbed(scores, token_ids, seed, step):
    """Add Gumbel noise to scores ``[B, K, N]``, in double.

    The best one is a draw from softmax(scores); the best m are m draws without
    replacement, in their order.

    Source: Kool et al., "Stochastic beams and where to find them" (ICML 2019).
    """
    noise = op.Neg(op.Log(op.Neg(op.Log(beamgen_ops.uniform(seed, step, token_ids)))))
    return op.Cast(scores, to=DOUBLE.dtype) + noise


@script(beamgen_ops, default_opset=op)
def perturbed_candidates(log_probs, token_ids, running_scores, one_beam, seed, step):
    """The candidates of all beams, with what they are drawn by.

    log_probs, token_ids ``[B, K or 1, N]``; running_scores ``[B, K]``, which count
    unless one_beam, a scalar: the chains of one beam do not compete.

    Returns: candidate_log_probs, candidate_ids, accumulated scores and those perturbed,
    each ``[B, K, N]``.
    """
    before = op.Unsqueeze(op.Where(one_beam, 0.0, running_scores), [2])
    accumulated = log_probs + before  # [B, K, N]
    shape = op.Shape(accumulated)
    candidate_ids = op.Expand(token_ids, shape)
    perturbed = beamgen_ops.perturbed(accumulated, candidate_ids, seed, step)
    candidate_log_probs = op.Expand(log_probs, shape)
    return candidate_log_probs, candidate_ids, accumulated, perturbed


@script(beamgen_ops, default_opset=op)
def draw_one(scores, token_ids, perturbed):
    """Draw a token of each list ``[B, K, N]`` from softmax(scores).

    Returns: chosen_scores, chosen_tokens, chosen_beams and chosen_log_probs, each
    ``[B, K]``; a chain has no other score than the token's log-probability.

    Source: ``torch.multinomial`` in ``GenerationMixin._sample``.
    """
    index = op.ArgMax(perturbed, axis=2)  # [B, K, 1]
    log_probs = op.GatherElements(op.LogSoftmax(scores, axis=-1), index, axis=2)
    chosen_scores = op.Squeeze(log_probs, [2])
    chosen_tokens = op.Squeeze(op.GatherElements(token_ids, index, axis=2), [2])
    chosen_beams = beamgen_ops.own_places(chosen_tokens)
    chosen_log_probs = op.Identity(chosen_scores)
    return chosen_scores, chosen_tokens, chosen_beams, chosen_log_probs


@script(beamgen_ops, default_opset=op)
def sample_top_k_continuations(log_probs, token_ids, accumulated, perturbed, eos_token_id):
    """Draw M continuations of each row over all its beams, without replacement.

    All but eos_token_id ``[B, K, N]``, see ``perturbed_candidates``.

    Returns: chosen_scores, chosen_tokens, chosen_beams and chosen_log_probs, the tokens'
    own, each ``[B, M]``, in the order in which they were drawn.

    Source: ``GenerationMixin._get_top_k_continuations`` with do_sample.
    """
    kept = beamgen_ops.beams_to_keep(op.Shape(log_probs, start=1, end=2), eos_token_id)
    _, index = op.TopK(op.Reshape(perturbed, [0, -1]), kept, axis=1)
    chosen_scores = op.GatherElements(op.Reshape(accumulated, [0, -1]), index, axis=1)
    chosen_tokens = op.GatherElements(op.Reshape(token_ids, [0, -1]), index, axis=1)
    chosen_log_probs = op.GatherElements(op.Reshape(log_probs, [0, -1]), index, axis=1)
    chosen_beams = index / op.Shape(log_probs, start=2)
    return chosen_scores, chosen_tokens, chosen_beams, chosen_log_probs
