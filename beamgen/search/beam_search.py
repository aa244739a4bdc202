"""One beam-search step as ONNX functions, after ``transformers`` 4.57.

Each function mirrors the method of the same name in
``transformers/generation/utils.py`` (``GenerationMixin._beam_search`` and its
helpers), in the same order and with the same arithmetic, the -1e9 included, so
that the two can be read side by side. Letters: B batch, K beams, V vocabulary,
E end-of-sequence ids, M = max(2, 1 + E) * K continuations kept per step,
t tokens generated before this step. Parameters come as ``[1]`` or ``[B]``.
"""

from __future__ import annotations

from onnxscript import BOOL, DOUBLE, FLOAT, INT32, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops

# values of the early_stopping input; 0 is False
_TRUE, _NEVER = 1, 2


@script(beamgen_ops, default_opset=op)
def gather_beams(x, index):
    """Take beams by index: x ``[B, K1, t]``, index ``[B, K2]`` -> ``[B, K2, t]``.

    Source: ``GenerationMixin._gather_beams``.
    """
    last = op.Shape(x, start=2)
    ones = op.Constant(value_ints=[1, 1])
    index3 = op.Expand(op.Unsqueeze(index, [2]), op.Concat(ones, last, axis=0))
    return op.GatherElements(x, index3, axis=1)


@script(beamgen_ops, default_opset=op)
def current_length(running_tokens):
    """running_tokens ``[B, K, t]`` -> t ``[1]`` and t + 1 ``[1]``, the new token counted."""
    generated = op.Shape(running_tokens, start=2)
    return op.Identity(generated), generated + 1


@script(beamgen_ops, default_opset=op)
def length_penalised(scores, length, length_penalty):
    """Scores ``[B, n]`` divided by ``length ** length_penalty``; length ``[1]`` or ``[B, 1]``.

    In double, then float, as torch divides a float tensor by a Python number.
    """
    power = op.Pow(
        op.Cast(length, to=DOUBLE.dtype),
        op.Cast(op.Reshape(length_penalty, [-1, 1]), to=DOUBLE.dtype),
    )
    return scores / op.Cast(power, to=FLOAT.dtype)


@script(beamgen_ops, default_opset=op)
def get_top_k_continuations(log_probs, running_scores, eos_token_id):
    """Best M continuations of each row over all its beams.

    log_probs ``[B, K or 1, V]`` (1: every beam is still the prompt),
    running_scores ``[B, K]`` accumulated log-probability.

    A single beam (greedy search) is ranked by its own log-probabilities, as HF
    ranks it: added to a long sum, near ones could round to the same number.

    Returns: scores, tokens, beams, each ``[B, M]``, best first.

    Source: ``GenerationMixin._get_top_k_continuations``.
    """
    vocab_size = op.Shape(log_probs, start=2)
    num_beams = op.Shape(running_scores, start=1)
    greedy = num_beams == 1
    accumulated = log_probs + op.Unsqueeze(op.Where(greedy, 0.0, running_scores), [2])  # [B, K, V]
    flat = op.Reshape(accumulated, [0, -1])  # [B, K * V]
    one = op.Constant(value_ints=[1])
    two = op.Constant(value_ints=[2])
    beams_to_keep = op.Max(two, op.Shape(eos_token_id) + one) * num_beams
    ranked, index = op.TopK(flat, beams_to_keep, axis=1)
    left_out = op.Where(greedy, op.Slice(running_scores, [0], [1], [1]), 0.0)  # [B, 1]
    scores = ranked + left_out
    return scores, op.Mod(index, vocab_size), index / vocab_size


@script(beamgen_ops, default_opset=op)
def hits_stopping_criteria(tokens, cur_len, eos_token_id, max_new_tokens):
    """Which continuations ``[B, M]`` end here; cur_len ``[1]`` counts the new token.

    Source: ``EosTokenCriteria`` and ``MaxLengthCriteria``,
    ``transformers/generation/stopping_criteria.py``.
    """
    is_eos = op.Equal(op.Unsqueeze(tokens, [2]), op.Reshape(eos_token_id, [1, 1, -1]))
    # a sum, not a maximum: it is 0 where there are no eos ids
    ends = op.ReduceSum(op.Cast(is_eos, to=INT32.dtype), [2], keepdims=0) > 0  # [B, M]
    return op.Or(ends, op.Reshape(max_new_tokens, [-1, 1]) <= cur_len)


@script(beamgen_ops, default_opset=op)
def get_running_beams_for_next_iteration(scores, hits, num_beams):
    """The best K continuations ``[B, M]`` that go on.

    Returns: running_scores ``[B, K]`` and their index into M ``[B, K]``.

    Source: ``GenerationMixin._get_running_beams_for_next_iteration``.
    """
    running = scores + op.Cast(hits, to=FLOAT.dtype) * -1.0e9
    running_scores, index = op.TopK(running, num_beams, axis=1)
    return running_scores, index


@script(beamgen_ops, default_opset=op)
def update_finished_beams(
    finished_scores,
    is_sent_finished,
    scores,
    hits,
    unsatisfied,
    cur_len,
    length_penalty,
    early_stopping,
):
    """Merge the continuations that just ended with the hypotheses held so far.

    finished_scores, is_sent_finished ``[B, K]``; scores, hits ``[B, M]``;
    unsatisfied ``[B, 1]``; cur_len ``[1]`` counts the new token.

    Returns: scores ``[B, K]``, is_sent_finished ``[B, K]`` and the index
    ``[B, K]`` into (K held, M continuations) side by side.

    Source: ``GenerationMixin._update_finished_beams``.
    """
    num_beams = op.Shape(finished_scores, start=1)
    rank = op.Range(0, op.Squeeze(op.Shape(scores, start=1)), 1)
    just_finished = op.And(hits, op.Unsqueeze(rank < num_beams, [0]))  # [B, M]
    candidate = beamgen_ops.length_penalised(scores, cur_len, length_penalty)
    all_finished = op.ReduceMin(op.Cast(is_sent_finished, to=INT32.dtype), [1]) > 0  # [B, 1]
    full = op.And(all_finished, early_stopping == _TRUE)
    candidate = candidate + op.Cast(full, to=FLOAT.dtype) * -1.0e9
    candidate = candidate + op.Cast(op.Not(unsatisfied), to=FLOAT.dtype) * -1.0e9
    candidate = candidate + op.Cast(op.Not(just_finished), to=FLOAT.dtype) * -1.0e9
    merged = op.Concat(finished_scores, candidate, axis=1)  # [B, K + M]
    next_scores, index = op.TopK(merged, num_beams, axis=1)
    finished = op.Concat(is_sent_finished, just_finished, axis=1)
    return next_scores, op.GatherElements(finished, index, axis=1), index


@script(beamgen_ops, default_opset=op)
def check_early_stop_heuristic(
    unsatisfied,
    running_scores,
    finished_scores,
    is_sent_finished,
    cur_len,
    max_new_tokens,
    length_penalty,
    early_stopping,
):
    """Can a row's best running beam still beat its worst hypothesis? ``[B, 1]``.

    Source: ``GenerationMixin._check_early_stop_heuristic``.
    """
    penalty = op.Reshape(length_penalty, [-1, 1])
    # "never": with a positive penalty the longest sequence has the best score
    longest = op.And(early_stopping == _NEVER, penalty > 0.0)
    length = op.Where(longest, op.Reshape(max_new_tokens, [-1, 1]), cur_len)
    best_running = op.Slice(running_scores, [0], [1], [1])  # [B, 1]
    best_possible = beamgen_ops.length_penalised(best_running, length, length_penalty)
    worst = op.Where(is_sent_finished, op.ReduceMin(finished_scores, [1]), -1.0e9)  # [B, K]
    improves = op.ReduceMax(op.Cast(best_possible > worst, to=INT32.dtype), [1]) > 0
    return op.And(unsatisfied, improves)


@script(beamgen_ops, default_opset=op)
def beam_search_has_unfinished_sequences(unsatisfied, is_sent_finished, hits, early_stopping):
    """Whether the loop goes on: a scalar for the whole batch.

    Source: ``GenerationMixin._beam_search_has_unfinished_sequences``.
    """
    improvement_possible = op.ReduceMax(op.Cast(unsatisfied, to=INT32.dtype), keepdims=0) > 0
    all_finished = op.ReduceMin(op.Cast(is_sent_finished, to=INT32.dtype), keepdims=0) > 0
    exists_open_beam = op.Not(op.And(all_finished, op.Squeeze(early_stopping) == _TRUE))
    valid_continuations = op.ReduceMin(op.Cast(hits, to=INT32.dtype), keepdims=0) < 1
    return op.And(op.And(improvement_possible, exists_open_beam), valid_continuations)


@script(beamgen_ops, default_opset=op)
def extend_sequences(
    running_tokens,
    finished_tokens,
    finished_lengths,
    tokens,
    beams,
    running_index,
    finished_index,
    fill_token_id,
):
    """Append the chosen tokens to the sequences they belong to.

    running_tokens, finished_tokens ``[B, K, t]``; finished_lengths ``[B, K]``;
    tokens, beams ``[B, M]``; running_index, finished_index ``[B, K]``.

    Returns: running_tokens, finished_tokens ``[B, K, t + 1]``, finished_lengths
    ``[B, K]`` and the running beams' parents ``[B, K]``.

    Source: the gathers of ``_get_top_k_continuations``,
    ``_get_running_beams_for_next_iteration`` and ``_update_finished_beams``.
    """
    parents = beamgen_ops.gather_beams(running_tokens, beams)
    continuations = op.Concat(parents, op.Unsqueeze(tokens, [2]), axis=2)  # [B, M, t + 1]
    fill = op.Expand(fill_token_id, op.Concat(op.Shape(finished_lengths), [1], axis=0))
    held = op.Concat(finished_tokens, fill, axis=2)  # [B, K, t + 1]
    merged = op.Concat(held, continuations, axis=1)  # [B, K + M, t + 1]
    cur_len = op.Shape(continuations, start=2)
    lengths = op.Concat(finished_lengths, op.Expand(cur_len, op.Shape(tokens)), axis=1)
    return (
        beamgen_ops.gather_beams(continuations, running_index),
        beamgen_ops.gather_beams(merged, finished_index),
        op.GatherElements(lengths, finished_index, axis=1),
        op.GatherElements(beams, running_index, axis=1),
    )


@script(beamgen_ops, default_opset=op)
def initial_state(input_ids, num_beams):
    """The search before its first step, for a prompt ``[B, S]``.

    Returns: running_tokens ``[B, K, 0]``, running_scores ``[B, K]`` (only the
    first beam counts, the others repeat it), finished_scores, finished_lengths,
    is_sent_finished ``[B, K]`` and is_early_stop_heuristic_unsatisfied ``[B, 1]``.
    """
    batch = op.Shape(input_ids, end=1)
    shape = op.Concat(batch, num_beams, axis=0)  # [B, K]
    tokens = op.Expand(op.Constant(value_int=0), op.Concat(shape, [0], axis=0))
    beam = op.Range(0, op.Squeeze(num_beams), 1)
    running_scores = op.Expand(op.Where(beam == 0, 0.0, -1.0e9), shape)
    finished_scores = op.Expand(op.Constant(value_float=-1.0e9), shape)
    lengths = op.Expand(op.Constant(value_int=0), shape)
    finished = op.Cast(lengths, to=BOOL.dtype)
    unsatisfied = op.Equal(op.Expand(0, op.Concat(batch, [1], axis=0)), 0)
    return tokens, running_scores, finished_scores, lengths, finished, unsatisfied


@script(beamgen_ops, default_opset=op)
def greedy_or_beam(num_beams, early_stopping, length_penalty, eos_token_id, pad_token_id):
    """Three rules in which HF's greedy search (one beam) differs from beam search.

    Greedy ends a row at its first EOS, which is early stopping with one beam; it
    knows no length penalty; and it fills with ``pad_token_id`` as it is, where
    beam search takes pad id 0 for "unset" and fills with the first EOS id.

    Returns: early_stopping ``[1]``, length_penalty ``[1]`` or ``[B]`` and
    fill_token_id ``[1]``.

    Source: ``GenerationMixin._sample`` and ``_beam_search`` (output_fill_value).
    """
    greedy = num_beams == 1
    first = op.Slice(op.Concat(eos_token_id, pad_token_id, axis=0), [0], [1], [0])
    unset = op.And(op.Not(greedy), pad_token_id == 0)
    return (
        op.Where(greedy, _TRUE, early_stopping),
        op.Where(greedy, 0.0, length_penalty),
        op.Where(unset, first, pad_token_id),
    )


@script(beamgen_ops, default_opset=op)
def finalize(input_ids, finished_tokens, finished_scores, finished_lengths, num_return_sequences):
    """The best R hypotheses, cropped to the longest of them.

    Returns: sequences ``[B, R, S + T]`` and sequences_scores ``[B, R]``.

    Source: ``GenerationMixin._beam_search``, "5. prepare outputs".
    """
    zero = op.Constant(value_ints=[0])
    one = op.Constant(value_ints=[1])
    two = op.Constant(value_ints=[2])
    returned = op.Max(num_return_sequences, zero)
    scores = op.Slice(finished_scores, zero, returned, one)
    lengths = op.Slice(finished_lengths, zero, returned, one)
    longest = op.Reshape(op.ReduceMax(lengths, keepdims=0), [1])
    best = op.Slice(finished_tokens, zero, returned, one)
    generated = op.Slice(best, zero, longest, two)  # [B, R, T]
    shape = op.Concat(op.Shape(scores), op.Shape(input_ids, start=1), axis=0)
    prompt = op.Expand(op.Unsqueeze(input_ids, one), shape)  # [B, R, S]
    return op.Concat(prompt, generated, axis=2), scores
