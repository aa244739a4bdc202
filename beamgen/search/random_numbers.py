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

from onnxscript import DOUBLE, INT64, UINT64, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops

# Multipliers and key increments of Philox4x32.
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_WORD = 0xFFFFFFFF
_TO_UNIT = 2.0**-32


@script(beamgen_ops, default_opset=op)
def philox_round(c0, c1, c2, c3, k0, k1):
    """One round on four counter words, and the next round's key; words in uint64."""
    word = op.Cast(op.Constant(value_int=_WORD), to=UINT64.dtype)
    bits = op.Cast(op.Constant(value_int=32), to=UINT64.dtype)
    product0 = c0 * op.Cast(op.Constant(value_int=_M0), to=UINT64.dtype)
    product1 = c2 * op.Cast(op.Constant(value_int=_M1), to=UINT64.dtype)
    high0 = op.BitShift(product0, bits, direction="RIGHT")
    high1 = op.BitShift(product1, bits, direction="RIGHT")
    next0 = op.BitwiseXor(op.BitwiseXor(high1, c1), k0)
    next2 = op.BitwiseXor(op.BitwiseXor(high0, c3), k1)
    key0 = op.BitwiseAnd(k0 + op.Cast(op.Constant(value_int=_W0), to=UINT64.dtype), word)
    key1 = op.BitwiseAnd(k1 + op.Cast(op.Constant(value_int=_W1), to=UINT64.dtype), word)
    return (
        next0,
        op.BitwiseAnd(product1, word),
        next2,
        op.BitwiseAnd(product0, word),
        key0,
        key1,
    )


@script(beamgen_ops, default_opset=op)
def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10: counter and key words, uint64 of any shapes that broadcast -> four words."""
    a0, a1, a2, a3, k0_1, k1_1 = beamgen_ops.philox_round(c0, c1, c2, c3, k0, k1)
    b0, b1, b2, b3, k0_2, k1_2 = beamgen_ops.philox_round(a0, a1, a2, a3, k0_1, k1_1)
    d0, d1, d2, d3, k0_3, k1_3 = beamgen_ops.philox_round(b0, b1, b2, b3, k0_2, k1_2)
    e0, e1, e2, e3, k0_4, k1_4 = beamgen_ops.philox_round(d0, d1, d2, d3, k0_3, k1_3)
    f0, f1, f2, f3, k0_5, k1_5 = beamgen_ops.philox_round(e0, e1, e2, e3, k0_4, k1_4)
    g0, g1, g2, g3, k0_6, k1_6 = beamgen_ops.philox_round(f0, f1, f2, f3, k0_5, k1_5)
    h0, h1, h2, h3, k0_7, k1_7 = beamgen_ops.philox_round(g0, g1, g2, g3, k0_6, k1_6)
    i0, i1, i2, i3, k0_8, k1_8 = beamgen_ops.philox_round(h0, h1, h2, h3, k0_7, k1_7)
    j0, j1, j2, j3, k0_9, k1_9 = beamgen_ops.philox_round(i0, i1, i2, i3, k0_8, k1_8)
    w0, w1, w2, w3, _k0, _k1 = beamgen_ops.philox_round(j0, j1, j2, j3, k0_9, k1_9)
    return w0, w1, w2, w3


@script(beamgen_ops, default_opset=op)
def row_seeds(seed, batch):
    """A seed for each of ``batch [1]`` rows: ``[B]`` seeds as given, one seed counted up."""
    row = op.Range(0, op.Squeeze(batch), 1)
    return seed + op.Where(op.Shape(seed) == 1, row, 0)


@script(beamgen_ops, default_opset=op)
def uniform(seed, step, token_ids):
    """Double in (0, 1), a multiple of 2**-33, for each token id ``[B, K, N]``.

    seed int64 ``[1]`` or ``[B]``; step ``[1]`` counts the tokens generated before.
    """
    word = op.Cast(op.Constant(value_int=_WORD), to=UINT64.dtype)
    bits = op.Cast(op.Constant(value_int=32), to=UINT64.dtype)
    seeds = beamgen_ops.row_seeds(seed, op.Shape(token_ids, end=1))
    key = op.Reshape(op.Cast(seeds, to=UINT64.dtype), [-1, 1, 1])
    beam = op.Range(0, op.Squeeze(op.Shape(token_ids, start=1, end=2)), 1)
    nothing = op.Cast(op.Constant(value_int=0), to=UINT64.dtype)
    number, _w1, _w2, _w3 = beamgen_ops.philox(
        op.Cast(token_ids, to=UINT64.dtype),
        op.Cast(op.Unsqueeze(beam, [0, 2]), to=UINT64.dtype),
        op.Cast(op.Reshape(step, [1, 1, 1]), to=UINT64.dtype),
        nothing,
        op.BitwiseAnd(key, word),
        op.BitShift(key, bits, direction="RIGHT"),
    )
    middle = op.Cast(number, to=DOUBLE.dtype) + op.Cast(0.5, to=DOUBLE.dtype)
    return middle * op.Cast(op.Constant(value_float=_TO_UNIT), to=DOUBLE.dtype)


@script(beamgen_ops, default_opset=op)
def perturbed(scores, token_ids, seed, step):
    """Scores ``[B, K, N]`` plus Gumbel noise, in double.

    The best one is a draw from softmax(scores); the best m are m draws without
    replacement, in their order.

    Source: Kool et al., "Stochastic beams and where to find them" (ICML 2019).
    """
    noise = op.Neg(op.Log(op.Neg(op.Log(beamgen_ops.uniform(seed, step, token_ids)))))
    return op.Cast(scores, to=DOUBLE.dtype) + noise


@script(beamgen_ops, default_opset=op)
def draw_one(scores, token_ids, seed, step):
    """A token of each list ``[B, K, N]``, drawn from softmax(scores).

    Returns: tokens and their log-probabilities ``[B, K]``.

    Source: ``torch.multinomial`` in ``GenerationMixin._sample``.
    """
    index = op.ArgMax(beamgen_ops.perturbed(scores, token_ids, seed, step), axis=2)  # [B, K, 1]
    log_probs = op.LogSoftmax(scores, axis=-1)
    token = op.GatherElements(token_ids, index, axis=2)
    log_prob = op.GatherElements(log_probs, index, axis=2)
    return op.Squeeze(token, [2]), op.Squeeze(log_prob, [2])


@script(beamgen_ops, default_opset=op)
def sample_top_k_continuations(log_probs, token_ids, running_scores, eos_token_id, seed, step):
    """M continuations of each row, drawn without replacement over all its beams.

    log_probs, token_ids ``[B, K or 1, N]``; running_scores ``[B, K]``.

    Returns: scores, tokens, beams and the tokens' own log-probabilities, each
    ``[B, M]``, in the order in which they were drawn.

    Source: ``GenerationMixin._get_top_k_continuations`` with do_sample.
    """
    accumulated = log_probs + op.Unsqueeze(running_scores, [2])  # [B, K, N]
    shape = op.Shape(accumulated)
    ids = op.Expand(token_ids, shape)
    noisy = op.Reshape(beamgen_ops.perturbed(accumulated, ids, seed, step), [0, -1])
    num_beams = op.Shape(running_scores, start=1)
    kept = beamgen_ops.beams_to_keep(num_beams, eos_token_id)
    _, index = op.TopK(noisy, kept, axis=1)
    scores = op.GatherElements(op.Reshape(accumulated, [0, -1]), index, axis=1)
    tokens = op.GatherElements(op.Reshape(ids, [0, -1]), index, axis=1)
    own = op.Reshape(op.Expand(log_probs, shape), [0, -1])
    beams = op.Cast(index / op.Shape(token_ids, start=2), to=INT64.dtype)
    return scores, tokens, beams, op.GatherElements(own, index, axis=1)
