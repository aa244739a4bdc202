"""What the rules of later releases of transformers ask for, besides the rest.

Each stands in a file only if its rules have it, see ``beamgen.settings.rules``.
"""

from __future__ import annotations

from onnxscript import FLOAT, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def one_id_before(history):
    """A history ``[B, n, T]`` with an id in front that no sequence has, ``[B, n, T + 1]``.

    The token to come counts: a sequence that fits behind it begins with the first id.

    Source: ``SequenceBiasLogitsProcessor`` since transformers 5.18.
    """
    rows = op.Concat(op.Shape(history, end=2), op.Constant(value_ints=[1]), axis=0)
    return op.Concat(op.Expand(op.Constant(value_int=-2), rows), history, axis=2)


@script(beamgen_ops, default_opset=op)
def without_padding(history, attention_mask):
    """A history ``[B, n, T]`` with its last id wherever the mask ``[B, S]`` begins with zeros.

    Source: ``RepetitionPenaltyLogitsProcessor`` since transformers 5.23, of which
    ``GenerationMixin._get_logits_processor`` asks to pass over as many.
    """
    is_text = op.Cast(op.Not(op.Equal(attention_mask, 0)), to=FLOAT.dtype)
    padding = op.ArgMax(is_text, axis=1)  # [B, 1], 0 where there is no text either
    place = op.Range(0, op.Squeeze(op.Shape(history, start=2)), 1)  # [T]
    last = op.Slice(history, [-1], [9223372036854775807], [2])  # [B, n, 1]
    return op.Where(op.Unsqueeze(place < padding, [1]), last, history)


@script(beamgen_ops, default_opset=op)
def into_constraint(
    scores,
    node,
    constraint_states,
    constraint_rows,
    constraint_edges,
    eos_token_id,
    chains_apart,
):
    """0 on what a constraint allows, where bans leave no beam of a row any of it.

    scores ``[B, n, V]`` after the constraint's processor, node ``[B, K]``; chains_apart, a
    scalar: each beam is a row of its own. A beam that has left the constraint always has
    something: of a function that allows it nothing HF complains.

    Source: ``PrefixConstrainedLogitsProcessor`` since transformers 5.18.
    """
    if op.Squeeze(op.Shape(constraint_states, end=1)) > 0:
        here = op.Slice(node, [0], op.Shape(scores, start=1, end=2), [1])  # [B, n]
        outside = op.Unsqueeze(op.Equal(here, -1), [2])  # [B, n, 1]
        best = op.Where(outside, 0.0, op.ReduceMax(scores, [2]))  # [B, n, 1]
        best_of_row = op.Where(chains_apart, best, op.ReduceMax(best, [1]))
        nothing = op.Expand(op.Constant(value_float=0.0), op.Shape(scores))
        mask = beamgen_ops.within_constraint(
            nothing, node, constraint_states, constraint_rows, constraint_edges, eos_token_id
        )
        none_left = op.IsInf(best_of_row, detect_positive=0)
        processed = op.Where(none_left, mask, scores)
    else:
        processed = op.Identity(scores)
    return processed


@script(beamgen_ops, default_opset=op)
def best_first(scores, tokens, beams, log_probs):
    """Continuations ``[B, M]`` that were drawn, in the order of their scores.

    Returns: chosen_scores, chosen_tokens, chosen_beams and chosen_log_probs, each ``[B, M]``.

    Source: ``GenerationMixin._get_top_k_continuations`` since transformers 5.24.
    """
    chosen_scores, index = op.TopK(scores, op.Shape(scores, start=1), axis=1)
    chosen_tokens = op.GatherElements(tokens, index, axis=1)
    chosen_beams = op.GatherElements(beams, index, axis=1)
    chosen_log_probs = op.GatherElements(log_probs, index, axis=1)
    return chosen_scores, chosen_tokens, chosen_beams, chosen_log_probs
