"""One beam-search step as ONNX functions, after ``transformers`` 4.57.

Each function mirrors the method of the same name in
``transformers/generation/utils.py`` (``GenerationMixin._beam_search`` and its
helpers), in the same order and with the same arithmetic, the -1e9 included, so
that the two can be read side by side. Letters: B batch, K beams, V vocabulary,
E end-of-sequence ids, M = max(2, 1 + E) * K continuations kept per step,
t tokens generated before this step. Parameters come as ``[1]`` or ``[B]``.
"""

from __future__ import annotations

from onnxscript import BOOL, DOUBLE, FLOAT, INT64, script
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
    """How many tokens were generated before this step, and with it.

    running_tokens ``[B, K, t]`` -> generated_len t and cur_len t + 1, ``[1]``.
    """
    length = op.Shape(running_tokens, start=2)
    generated_len = op.Identity(length)
    cur_len = length + 1
    return generated_len, cur_len


@script(beamgen_ops, default_opset=op)
def length_penalised(scores, length, length_penalty):
    """Divide scores ``[B, n]`` by ``length ** length_penalty``; length ``[1]`` or ``[B, 1]``.

    In double, then float, as torch divides a float tensor by a Python number.
    """
    power = op.Pow(
        op.Cast(length, to=DOUBLE.dtype),
        op.Cast(op.Reshape(length_penalty, [-1, 1]), to=DOUBLE.dtype),
    )
    return scores / op.Cast(power, to=FLOAT.dtype)


@script(beamgen_ops, default_opset=op)
def beams_to_keep(num_beams, eos_token_id):
    """How many continuations a step keeps, M ``[1]``; num_beams ``[1]``, eos_token_id ``[E]``."""
    return op.Max(op.Constant(value_ints=[2]), op.Shape(eos_token_id) + 1) * num_beams


@script(beamgen_ops, default_opset=op)
def get_top_k_continuations(log_probs, running_scores, eos_token_id):
    """The best M continuations of each row over all its beams.

    log_probs ``[B, K or 1, V]`` (1: every beam is still the prompt),
    running_scores ``[B, K]`` accumulated log-probability.

    Returns: chosen_scores, chosen_tokens, chosen_beams and chosen_log_probs, the tokens'
    own, each ``[B, M]``, best first.

    Source: ``GenerationMixin._get_top_k_continuations``.
    """
    vocab_size = op.Shape(log_probs, start=2)
    accumulated = log_probs + op.Unsqueeze(running_scores, [2])  # [B, K, V]
    flat = op.Reshape(accumulated, [0, -1])  # [B, K * V]
    num_beams = op.Shape(running_scores, start=1)
    kept = beamgen_ops.beams_to_keep(num_beams, eos_token_id)
    chosen_scores, index = op.TopK(flat, kept, axis=1)
    chosen_tokens, chosen_beams = op.Mod(index, vocab_size), index / vocab_size
    # before the first step all beams read the same log-probabilities
    list_of_beam = op.Min(chosen_beams, op.Shape(log_probs, start=1, end=2) - 1)
    source = list_of_beam * vocab_size + chosen_tokens
    chosen_log_probs = op.GatherElements(op.Reshape(log_probs, [0, -1]), source, axis=1)
    return chosen_scores, chosen_tokens, chosen_beams, chosen_log_probs


@script(beamgen_ops, default_opset=op)
def hits_stopping_criteria(tokens, cur_len, eos_token_id, max_new_tokens, stopped):
    """Which continuations ``[B, M]`` end here; cur_len ``[1]`` counts the new token.

    stopped ``[B, M]`` says where a stop string has come.

    Source: ``EosTokenCriteria``, ``MaxLengthCriteria`` and ``StopStringCriteria``,
    ``transformers/generation/stopping_criteria.py``.
    """
    is_eos = op.Equal(op.Unsqueeze(tokens, [2]), op.Reshape(eos_token_id, [1, 1, -1]))
    # a sum, not a maximum: it is 0 where there are no eos ids
    ends = op.ReduceSum(op.Cast(is_eos, to=INT64.dtype), [2], keepdims=0) > 0  # [B, M]
    return op.Or(op.Or(ends, stopped), op.Reshape(max_new_tokens, [-1, 1]) <= cur_len)


@script(beamgen_ops, default_opset=op)
def get_running_beams_for_next_iteration(scores, hits, num_beams):
    """The best K continuations ``[B, M]`` that go on.

    Returns: running_scores ``[B, K]`` and their index into M ``[B, K]``.

    Source: ``GenerationMixin._get_running_beams_for_next_iteration``.
    """
    running = scores + op.Cast(hits, to=FLOAT.dtype) * -1.0e9
    running_scores, running_index = op.TopK(running, num_beams, axis=1)
    return running_scores, running_index


@script(beamgen_ops, default_opset=op)
def update_finished_beams(
    held_scores,
    is_held,
    scores,
    hits,
    unsatisfied,
    cur_len,
    length_penalty,
    early_stopping,
):
    """Merge the continuations that just ended with the hypotheses held so far.

    held_scores, is_held ``[B, K]``; scores, hits ``[B, M]``; unsatisfied ``[B, 1]``;
    cur_len ``[1]`` counts the new token.

    Returns: finished_scores ``[B, K]``, is_sent_finished ``[B, K]`` and finished_index
    ``[B, K]`` into (K held, M continuations) side by side.

    Source: ``GenerationMixin._update_finished_beams``.
    """
    num_beams = op.Shape(held_scores, start=1)
    rank = op.Range(0, op.Squeeze(op.Shape(scores, start=1)), 1)
    just_finished = op.And(hits, op.Unsqueeze(rank < num_beams, [0]))  # [B, M]
    candidate = beamgen_ops.length_penalised(scores, cur_len, length_penalty)
    all_finished = op.ReduceMin(op.Cast(is_held, to=INT64.dtype), [1]) > 0  # [B, 1]
    full = op.And(all_finished, early_stopping == _TRUE)
    candidate = candidate + op.Cast(full, to=FLOAT.dtype) * -1.0e9
    candidate = candidate + op.Cast(op.Not(unsatisfied), to=FLOAT.dtype) * -1.0e9
    candidate = candidate + op.Cast(op.Not(just_finished), to=FLOAT.dtype) * -1.0e9
    merged = op.Concat(held_scores, candidate, axis=1)  # [B, K + M]
    finished_scores, finished_index = op.TopK(merged, num_beams, axis=1)
    finished = op.Concat(is_held, just_finished, axis=1)
    is_sent_finished = op.GatherElements(finished, finished_index, axis=1)
    return finished_scores, is_sent_finished, finished_index


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
    """Whether a row's best running beam can still beat its worst hypothesis, ``[B, 1]``.

    Source: ``GenerationMixin._check_early_stop_heuristic``.
    """
    penalty = op.Reshape(length_penalty, [-1, 1])
    # "never": with a positive penalty the longest sequence has the best score
    longest = op.And(early_stopping == _NEVER, penalty > 0.0)
    length = op.Where(longest, op.Reshape(max_new_tokens, [-1, 1]), cur_len)
    best_running = op.Slice(running_scores, [0], [1], [1])  # [B, 1]
    best_possible = beamgen_ops.length_penalised(best_running, length, length_penalty)
    worst = op.Where(is_sent_finished, op.ReduceMin(finished_scores, [1]), -1.0e9)  # [B, K]
    improves = op.ReduceMax(op.Cast(best_possible > worst, to=INT64.dtype), [1]) > 0
    return op.And(unsatisfied, improves)


@script(beamgen_ops, default_opset=op)
def beam_search_has_unfinished_sequences(unsatisfied, is_sent_finished, hits, early_stopping):
    """Whether the loop goes on: a scalar for the whole batch.

    Source: ``GenerationMixin._beam_search_has_unfinished_sequences``.
    """
    improvement_possible = op.ReduceMax(op.Cast(unsatisfied, to=INT64.dtype), keepdims=0) > 0
    all_finished = op.ReduceMin(op.Cast(is_sent_finished, to=INT64.dtype), keepdims=0) > 0
    exists_open_beam = op.Not(op.And(all_finished, op.Squeeze(early_stopping) == _TRUE))
    valid_continuations = op.ReduceMin(op.Cast(hits, to=INT64.dtype), keepdims=0) < 1
    return op.And(op.And(improvement_possible, exists_open_beam), valid_continuations)


@script(beamgen_ops, default_opset=op)
def extend_sequences(going_on, held, new, fill, beams, running_index, finished_index):
    """Append what was chosen to the sequences it belongs to.

    What is kept per token, ids or log-probabilities, of the running beams and of
    the hypotheses: going_on, held ``[B, K, t]``; new ``[B, M, w]`` with w 1, or
    0 where nothing is kept; fill ``[1]`` for hypotheses held; beams ``[B, M]``;
    running_index, finished_index ``[B, K]``.

    Returns: running and finished ``[B, K, t + w]``.

    Source: the gathers of ``_get_top_k_continuations``,
    ``_get_running_beams_for_next_iteration`` and ``_update_finished_beams``.
    """
    parents = beamgen_ops.gather_beams(going_on, beams)
    continuations = op.Concat(parents, new, axis=2)  # [B, M, t + w]
    filled = op.Concat(op.Shape(held, end=2), op.Shape(new, start=2), axis=0)
    longer = op.Concat(held, op.Expand(fill, filled), axis=2)
    merged = op.Concat(longer, continuations, axis=1)  # [B, K + M, t + w]
    running = beamgen_ops.gather_beams(continuations, running_index)
    finished = beamgen_ops.gather_beams(merged, finished_index)
    return running, finished


@script(beamgen_ops, default_opset=op)
def extend_lengths(held_lengths, cur_len, beams, running_index, finished_index):
    """The hypotheses' lengths and the running beams' parents, after a choice.

    held_lengths ``[B, K]``, cur_len ``[1]``, beams ``[B, M]``.

    Returns: finished_lengths and parents ``[B, K]``.
    """
    lengths = op.Concat(held_lengths, op.Expand(cur_len, op.Shape(beams)), axis=1)
    finished_lengths = op.GatherElements(lengths, finished_index, axis=1)
    parents = op.GatherElements(beams, running_index, axis=1)
    return finished_lengths, parents


@script(beamgen_ops, default_opset=op)
def numbered_in_batch(beams, running):
    """Beams ``[B, n]`` of each row, counted over the whole batch as HF's ``beam_indices`` are.

    running ``[B, K, ...]`` or ``[B, K]`` is read for its K.
    """
    row = op.Range(0, op.Squeeze(op.Shape(beams, end=1)), 1)
    return beams + op.Unsqueeze(row, [1]) * op.Shape(running, start=1, end=2)


@script(beamgen_ops, default_opset=op)
def on_request(values, output_scores):
    """Values ``[B, n]`` as ``[B, n, 1]``, or as ``[B, n, 0]`` where nobody asks for scores."""
    width = op.Min(op.Max(output_scores, 0), 1)
    return op.Slice(op.Unsqueeze(values, [2]), [0], width, [2])


@script(beamgen_ops, default_opset=op)
def last_tokens(running_tokens):
    """The newest token of each running beam: ``[B, K, t]`` -> ``[B, K]``."""
    return op.Squeeze(op.Slice(running_tokens, [-1], [9223372036854775807], [2]), [2])


@script(beamgen_ops, default_opset=op)
def initial_state(input_ids, num_beams, one_beam):
    """The search before its first step, for a prompt ``[B, S]``.

    one_beam is a scalar: greedy search or sampling, see ``one_beam.py``.

    Returns: tokens ``[B, K, 0]``, running_scores ``[B, K]`` (in beam search only the
    first beam counts, the others repeat it), log_probs ``[B, K, 0]``, finished_scores,
    finished_lengths, is_sent_finished ``[B, K]`` and unsatisfied ``[B, 1]``, HF's
    is_early_stop_heuristic_unsatisfied.
    """
    batch = op.Shape(input_ids, end=1)
    shape = op.Concat(batch, num_beams, axis=0)  # [B, K]
    nothing = op.Concat(shape, [0], axis=0)
    tokens = op.Expand(op.Constant(value_int=0), nothing)
    beam = op.Range(0, op.Squeeze(num_beams), 1)
    running_scores = op.Expand(op.Where(op.Or(one_beam, beam == 0), 0.0, -1.0e9), shape)
    log_probs = op.Expand(op.Constant(value_float=0.0), nothing)
    finished_scores = op.Expand(op.Constant(value_float=-1.0e9), shape)
    finished_lengths = op.Expand(op.Constant(value_int=0), shape)
    is_sent_finished = op.Cast(finished_lengths, to=BOOL.dtype)
    unsatisfied = op.Equal(op.Expand(0, op.Concat(batch, [1], axis=0)), 0)
    return (
        tokens,
        running_scores,
        log_probs,
        finished_scores,
        finished_lengths,
        is_sent_finished,
        unsatisfied,
    )


@script(beamgen_ops, default_opset=op)
def search_mode(
    num_beams, do_sample, num_return_sequences, given_penalty, eos_token_id, pad_token_id
):
    """Whether there is one beam or several, and what follows; all ``[1]``, eos_token_id ``[E]``.

    Greedy search and sampling know no length penalty, and fill with
    ``pad_token_id`` as it is; beam search takes pad id 0 for "unset" and fills
    with the first EOS id.

    Returns: one_beam and sampling, scalars; running ``[1]``, K, the sequences of a row
    that go on; length_penalty; fill_token_id ``[1]``; and min_tokens_to_keep ``[1]``,
    for the warpers.

    Source: ``GenerationMixin._sample``, ``_beam_search`` (output_fill_value) and
    ``_get_logits_processor`` (min_tokens_to_keep).
    """
    one = op.Constant(value_ints=[1])
    is_one = num_beams == 1
    samples = op.Not(do_sample == 0)
    chains = op.Where(samples, op.Max(num_return_sequences, one), one)
    running = op.Where(is_one, chains, num_beams)
    first = op.Slice(op.Concat(eos_token_id, pad_token_id, axis=0), [0], [1], [0])
    unset = op.And(op.Not(is_one), pad_token_id == 0)
    min_tokens_to_keep = op.Where(is_one, one, beamgen_ops.beams_to_keep(one, eos_token_id))
    one_beam, sampling = op.Squeeze(is_one), op.Squeeze(samples)
    length_penalty = op.Where(is_one, 0.0, given_penalty)
    fill_token_id = op.Where(unset, first, pad_token_id)
    return one_beam, sampling, running, length_penalty, fill_token_id, min_tokens_to_keep


@script(beamgen_ops, default_opset=op)
def finish_reasons(scores, lengths, is_sent_finished, tokens, length_penalty, eos_token_id):
    """What ended each hypothesis, int64 ``[B, R]``: 1 an EOS, 2 anything else.

    0 where the search found fewer hypotheses than it returns: what stands there
    is nothing that HF's search ever had a probability for, but an empty slot or
    a dead beam, whose summed score is -1e9 or less.

    scores, lengths, is_sent_finished ``[B, R]``; tokens ``[B, R, T]``.
    """
    summed = beamgen_ops.length_penalised(scores, op.Max(lengths, 1), op.Neg(length_penalty))
    found = op.And(is_sent_finished, summed > -5.0e8)
    last = op.GatherElements(tokens, op.Unsqueeze(op.Max(lengths - 1, 0), [2]), axis=2)
    is_eos = op.Equal(last, op.Reshape(eos_token_id, [1, 1, -1]))  # [B, R, E]
    ended = op.ReduceSum(op.Cast(is_eos, to=INT64.dtype), [2], keepdims=0) > 0
    return op.Where(found, op.Where(ended, 1, 2), 0)


@script(beamgen_ops, default_opset=op)
def best_hypotheses(values, lengths, num_return_sequences):
    """The first R hypotheses' values ``[B, K, t]``, cropped to the longest of them.

    lengths ``[B, K]`` -> ``[B, R, T]``.

    Source: ``GenerationMixin._beam_search``, "5. prepare outputs".
    """
    zero = op.Constant(value_ints=[0])
    returned = op.Max(num_return_sequences, zero)
    kept = op.Slice(lengths, zero, returned, op.Constant(value_ints=[1]))
    longest = op.Reshape(op.ReduceMax(kept, keepdims=0), [1])
    best = op.Slice(values, zero, returned, op.Constant(value_ints=[1]))
    return op.Slice(best, zero, longest, op.Constant(value_ints=[2]))


@script(beamgen_ops, default_opset=op)
def finalize(
    input_ids,
    finished_tokens,
    finished_scores,
    finished_lengths,
    is_sent_finished,
    num_return_sequences,
    length_penalty,
    eos_token_id,
):
    """The best R hypotheses with their prompts.

    Returns: sequences ``[B, R, S + T]``; sequences_scores and finish_reasons ``[B, R]``; and
    what was generated: new_tokens ``[B, R, T]`` and new_lengths ``[B, R]``.
    """
    zero = op.Constant(value_ints=[0])
    one = op.Constant(value_ints=[1])
    returned = op.Max(num_return_sequences, zero)
    sequences_scores = op.Slice(finished_scores, zero, returned, one)
    new_tokens = beamgen_ops.best_hypotheses(finished_tokens, finished_lengths, returned)
    new_lengths = op.Slice(finished_lengths, zero, returned, one)
    finish_reasons = beamgen_ops.finish_reasons(
        sequences_scores,
        new_lengths,
        op.Slice(is_sent_finished, zero, returned, one),
        op.Slice(finished_tokens, zero, returned, one),
        length_penalty,
        eos_token_id,
    )
    shape = op.Concat(op.Shape(sequences_scores), op.Shape(input_ids, start=1), axis=0)
    prompt = op.Expand(op.Unsqueeze(input_ids, one), shape)  # [B, R, S]
    sequences = op.Concat(prompt, new_tokens, axis=2)
    return sequences, sequences_scores, finish_reasons, new_tokens, new_lengths
