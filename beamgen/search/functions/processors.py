"""Logits processors, in the order of HF's ``_get_logits_processor``.

Each takes scores ``[B, n, V]`` and gives them back changed. In beam search the
scores are log-probabilities after log_softmax, with one beam they are logits, as
in HF, which does not renormalise afterwards either. n is K, or 1 while every beam
is still the prompt. ``history [B, n, T]`` holds the ids so far as HF sees them:
prompt, its padding included, and generated tokens. ``generated_len [1]`` counts
the tokens before the one to come.

What is off does no work: each function is a conditional around its body.
Parameters come as ``[1]`` or ``[B]``; lists of ids as ``[n]``, off when empty;
lists of sequences as ``[n, m]``, aligned on the right and filled with -1.

Source: ``transformers/generation/logits_process.py``.
"""

from __future__ import annotations

from onnxscript import BOOL, DOUBLE, FLOAT, INT64, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops

# What remove_invalid_values puts in place of the infinities, `torch.finfo(float32).max`.
_LARGEST = 3.4028234663852886e38


@script(beamgen_ops, default_opset=op)
def anywhere(condition):
    """Whether a bool tensor of any shape, an empty one too, holds a true: a scalar."""
    return op.ReduceSum(op.Cast(condition, to=INT64.dtype), keepdims=0) > 0


@script(beamgen_ops, default_opset=op)
def in_use(
    repetition_penalty,
    no_repeat_ngram_size,
    sequence_bias_ids,
    bad_words_ids,
    catalogue_tokens,
    forced_bos_token_id,
    forced_eos_token_id,
    remove_invalid_values,
    exponential_decay_length_penalty,
    suppress_tokens,
    begin_suppress_tokens,
    renormalize_logits,
    do_sample,
):
    """Whether any processor but ``min_new_tokens`` has work in some step: a scalar."""
    ids = op.Concat(
        op.Shape(sequence_bias_ids, end=1),
        op.Shape(bad_words_ids, end=1),
        op.Shape(catalogue_tokens),
        op.Shape(forced_bos_token_id),
        op.Shape(forced_eos_token_id),
        op.Shape(exponential_decay_length_penalty),
        op.Shape(suppress_tokens),
        op.Shape(begin_suppress_tokens),
        no_repeat_ngram_size,
        op.Abs(remove_invalid_values),
        op.Abs(renormalize_logits),
        op.Abs(do_sample),
        axis=0,
    )
    some = beamgen_ops.anywhere(ids > 0)
    return op.Or(some, beamgen_ops.anywhere(op.Not(op.Equal(repetition_penalty, 1.0))))


@script(beamgen_ops, default_opset=op)
def have_work(in_use, min_new_tokens, generated_len):
    """Whether any processor has work in this step: a scalar."""
    return op.Or(in_use, beamgen_ops.anywhere(min_new_tokens > generated_len))


@script(beamgen_ops, default_opset=op)
def token_history(scores, input_ids, running_tokens):
    """The ids before the token to come, ``[B, n, S + t]``.

    scores ``[B, n, V]``, read for its n; input_ids ``[B, S]``, running_tokens ``[B, K, t]``.
    """
    beams = op.Shape(scores, start=1, end=2)
    shape = op.Concat(op.Shape(scores, end=2), op.Shape(input_ids, start=1), axis=0)
    prompt = op.Expand(op.Unsqueeze(input_ids, [1]), shape)  # [B, n, S]
    running = op.Slice(running_tokens, [0], beams, [1])
    return op.Concat(prompt, running, axis=2)


@script(beamgen_ops, default_opset=op)
def add_to_tokens(scores, token_ids, addends):
    """Scores ``[B, n, V]`` + addends ``[B or 1, n or 1, m]`` at token ids of the same shapes."""
    shape = op.Concat(op.Shape(scores, end=2), op.Shape(token_ids, start=2), axis=0)
    index = op.Expand(token_ids, shape)
    return op.ScatterElements(scores, index, op.Expand(addends, shape), axis=2, reduction="add")


@script(beamgen_ops, default_opset=op)
def ban(scores, token_ids, banned):
    """-inf, whatever stood there, on the token ids ``[B, n, m]`` for which banned holds."""
    nowhere = op.Expand(op.Constant(value_float=0.0), op.Shape(scores))
    hits = op.Cast(banned, to=FLOAT.dtype)
    places = op.ScatterElements(nowhere, token_ids, hits, axis=2, reduction="max")
    return op.Where(places > 0.0, op.Constant(value_float=float("-inf")), scores)


@script(beamgen_ops, default_opset=op)
def suppress(scores, token_ids, now):
    """-inf on token_ids ``[m]`` in the rows for which now ``[B or 1]`` holds."""
    shape = op.Concat(op.Shape(scores, end=2), op.Shape(token_ids), axis=0)
    index = op.Expand(op.Reshape(token_ids, [1, 1, -1]), shape)
    before = op.GatherElements(scores, index, axis=2)  # [B, n, m]
    banned = op.Constant(value_float=float("-inf"))
    after = op.Where(op.Reshape(now, [-1, 1, 1]), banned, before)
    return op.ScatterElements(scores, index, after, axis=2)


@script(beamgen_ops, default_opset=op)
def ends_with(history, sequences):
    """Which sequences ``[m, L]`` the next token could complete, ``[B, n, m]``.

    Their last token is the one to come; those before it have to end the history.
    As in HF, a sequence longer than the history is passed over.
    """
    longest = op.Shape(sequences, start=1)
    rows = op.Shape(history, end=2)
    # -2 equals no id, so that a sequence does not reach before the first one
    before = op.Expand(op.Constant(value_int=-2), op.Concat(rows, longest, axis=0))
    padded = op.Concat(before, history, axis=2)
    minus = op.Constant(value_ints=[1]) - longest  # 1 - L: the last L - 1 of them
    size = op.Shape(padded, start=2)
    tail = op.Slice(padded, size + minus, size, [2])  # [B, n, L - 1]
    prefix = op.Slice(sequences, [0], [-1], [1])  # [m, L - 1]
    same = op.Equal(op.Unsqueeze(tail, [2]), op.Unsqueeze(prefix, [0, 1]))
    anything = op.Unsqueeze(prefix < 0, [0, 1])
    mismatch = op.Not(op.Or(same, anything))  # [B, n, m, L - 1]
    mismatches = op.ReduceSum(op.Cast(mismatch, to=INT64.dtype), [3], keepdims=0)
    lengths = op.ReduceSum(op.Cast(sequences >= 0, to=INT64.dtype), [1], keepdims=0)
    short = op.And(lengths > 0, lengths <= op.Shape(history, start=2))  # [m]
    return op.And(mismatches == 0, op.Unsqueeze(short, [0, 1]))


@script(beamgen_ops, default_opset=op)
def last_of_sequences(sequences):
    """The last token of sequences ``[m, L]``, as ``[1, 1, m]``."""
    return op.Reshape(op.Slice(sequences, [-1], [9223372036854775807], [1]), [1, 1, -1])


@script(beamgen_ops, default_opset=op)
def sequence_bias(scores, history, sequence_bias_ids, sequence_bias):
    """Add ``sequence_bias [m]`` to tokens that complete ``sequence_bias_ids [m, L]``.

    Source: ``SequenceBiasLogitsProcessor``.
    """
    if beamgen_ops.anywhere(sequence_bias_ids >= 0):
        completes = beamgen_ops.ends_with(history, sequence_bias_ids)  # [B, n, m]
        tokens = beamgen_ops.last_of_sequences(sequence_bias_ids)
        bias = op.Where(completes, op.Unsqueeze(sequence_bias, [0, 1]), 0.0)
        processed = beamgen_ops.add_to_tokens(scores, tokens, bias)
    else:
        processed = op.Identity(scores)
    return processed


@script(beamgen_ops, default_opset=op)
def repetition_penalty(scores, history, repetition_penalty):
    """Divide the positive scores of ids in the history by the penalty, multiply the others.

    Source: ``RepetitionPenaltyLogitsProcessor``.
    """
    if beamgen_ops.anywhere(op.Not(op.Equal(repetition_penalty, 1.0))):
        # not below the smallest normal number: HF refuses penalties of 0 or less
        penalty = op.Max(op.Reshape(repetition_penalty, [-1, 1, 1]), 1.1754944e-38)
        score = op.GatherElements(scores, history, axis=2)  # [B, n, T]
        changed = op.Where(score < 0.0, score * penalty, score / penalty)
        processed = op.ScatterElements(scores, history, changed, axis=2)
    else:
        processed = op.Identity(scores)
    return processed


@script(beamgen_ops, default_opset=op)
def no_repeat_ngram(scores, history, no_repeat_ngram_size):
    """-inf on tokens that would complete an n-gram which the history holds already.

    A token at w is banned where the n - 1 tokens before it are the last n - 1.

    Source: ``NoRepeatNGramLogitsProcessor``.
    """
    longest = op.ReduceMax(no_repeat_ngram_size, keepdims=1)  # [1]
    if op.Squeeze(longest) > 0:
        size = op.Reshape(no_repeat_ngram_size, [-1, 1, 1])
        length = op.Shape(history, start=2)
        zero = op.Constant(value_ints=[0])
        # of tokens further back than the history is long none is needed
        reach = op.Max(op.Min(longest - 1, length - 1), zero)  # [1]
        back = op.Range(0, op.Squeeze(reach), 1) + 1  # [j] = 1 ... n - 1
        place = op.Range(0, op.Squeeze(length), 1)  # [T]
        source = op.Unsqueeze(place, [1]) - back  # [T, j], the jth token before each place
        exists = source >= 0
        before = op.Gather(history, op.Where(exists, source, 0), axis=2)  # [B, n, T, j]
        last = op.Gather(history, length - back, axis=2)  # [B, n, j]
        same = op.And(op.Equal(before, op.Unsqueeze(last, [2])), exists)
        # how many of the last tokens, counted from the end, stand before each place
        unlike = op.CumSum(op.Cast(op.Not(same), to=INT64.dtype), op.Constant(value_int=3))
        run = op.ReduceSum(op.Cast(unlike == 0, to=INT64.dtype), [3], keepdims=0)  # [B, n, T]
        repeats = op.And(run >= size - 1, size > 0)
        processed = beamgen_ops.ban(scores, history, repeats)
    else:
        processed = op.Identity(scores)
    return processed


@script(beamgen_ops, default_opset=op)
def bad_words(scores, history, bad_words_ids, eos_token_id):
    """-inf on tokens that complete one of ``bad_words_ids [m, L]``.

    A bad word that is one EOS alone is passed over.

    Source: ``NoBadWordsLogitsProcessor``.
    """
    if beamgen_ops.anywhere(bad_words_ids >= 0):
        tokens = beamgen_ops.last_of_sequences(bad_words_ids)  # [1, 1, m]
        alone = op.ReduceSum(op.Cast(bad_words_ids >= 0, to=INT64.dtype), [1], keepdims=0) == 1
        is_eos = op.Equal(op.Unsqueeze(tokens, [3]), op.Reshape(eos_token_id, [1, 1, 1, -1]))
        eos = op.ReduceSum(op.Cast(is_eos, to=INT64.dtype), [3], keepdims=0) > 0  # [1, 1, m]
        completes = beamgen_ops.ends_with(history, bad_words_ids)
        banned = op.And(completes, op.Not(op.And(eos, op.Unsqueeze(alone, [0, 1]))))
        addends = op.Where(banned, op.Constant(value_float=float("-inf")), 0.0)
        processed = beamgen_ops.add_to_tokens(scores, tokens, addends)
    else:
        processed = op.Identity(scores)
    return processed


@script(beamgen_ops, default_opset=op)
def min_new_tokens(scores, generated_len, eos_token_id, min_new_tokens):
    """-inf on every EOS until ``min_new_tokens`` were generated.

    Source: ``MinNewTokensLengthLogitsProcessor``; ``MinLengthLogitsProcessor`` is
    the same with the prompt counted.
    """
    too_short = min_new_tokens > generated_len
    if beamgen_ops.anywhere(too_short):
        processed = beamgen_ops.suppress(scores, eos_token_id, too_short)
    else:
        processed = op.Identity(scores)
    return processed


@script(beamgen_ops, default_opset=op)
def force(scores, token_ids, now):
    """0 on token_ids ``[m]`` and -inf elsewhere, in the rows for which now ``[B or 1]`` holds."""
    vocabulary = op.Range(0, op.Squeeze(op.Shape(scores, start=2)), 1)  # [V]
    is_forced = op.Equal(op.Unsqueeze(vocabulary, [1]), op.Unsqueeze(token_ids, [0]))
    among = op.ReduceSum(op.Cast(is_forced, to=INT64.dtype), [1], keepdims=0) > 0  # [V]
    forced = op.Where(among, 0.0, op.Constant(value_float=float("-inf")))
    return op.Where(op.Reshape(now, [-1, 1, 1]), op.Unsqueeze(forced, [0, 1]), scores)


@script(beamgen_ops, default_opset=op)
def forced_bos(scores, history, forced_bos_token_id):
    """The first token after a prompt of one token has to be ``forced_bos_token_id``.

    Source: ``ForcedBOSTokenLogitsProcessor``.
    """
    now = op.And(op.Shape(history, start=2) == 1, op.Shape(forced_bos_token_id) > 0)  # [1]
    if op.Squeeze(now):
        processed = beamgen_ops.force(scores, forced_bos_token_id, now)
    else:
        processed = op.Identity(scores)
    return processed


@script(beamgen_ops, default_opset=op)
def forced_eos(scores, generated_len, forced_eos_token_id, max_new_tokens):
    """The last token has to be one of ``forced_eos_token_id [m]``.

    Source: ``ForcedEOSTokenLogitsProcessor``.
    """
    last = max_new_tokens - 1 == generated_len
    now = op.And(last, op.Shape(forced_eos_token_id) > 0)
    if beamgen_ops.anywhere(now):
        processed = beamgen_ops.force(scores, forced_eos_token_id, now)
    else:
        processed = op.Identity(scores)
    return processed


@script(beamgen_ops, default_opset=op)
def remove_invalid_values(scores, remove_invalid_values):
    """0 for what is not a number, the largest and smallest numbers for the infinities.

    Source: ``InfNanRemoveLogitsProcessor``.
    """
    if op.Squeeze(remove_invalid_values) != 0:
        numbers = op.Where(op.IsNaN(scores), 0.0, scores)
        processed = op.Clip(numbers, -_LARGEST, _LARGEST)
    else:
        processed = op.Identity(scores)
    return processed


@script(beamgen_ops, default_opset=op)
def exponential_decay_length(scores, generated_len, exponential_decay_length_penalty, eos_token_id):
    """After ``start`` tokens, EOS scores rise by ``abs(score) * (factor ** further - 1)``.

    exponential_decay_length_penalty ``[2]`` holds start and factor. An EOS that
    may not come stays so: HF has inf - inf there, which is not a number.

    Source: ``ExponentialDecayLengthPenalty``.
    """
    zero, one, two = (
        op.Constant(value_ints=[0]),
        op.Constant(value_ints=[1]),
        op.Constant(value_ints=[2]),
    )
    # start and factor where they are given, and else a start that is never reached
    never = op.Constant(value_floats=[3.0e38, 1.0])
    given = op.Concat(exponential_decay_length_penalty, never, axis=0)
    further = op.Cast(generated_len, to=FLOAT.dtype) - op.Slice(given, zero, one)  # [1]
    if op.Squeeze(further) > 0.0:
        factor = op.Cast(op.Slice(given, one, two), to=DOUBLE.dtype)
        rise = op.Pow(factor, op.Cast(further, to=DOUBLE.dtype))
        rise = rise - op.Cast(1.0, to=DOUBLE.dtype)
        shape = op.Concat(op.Shape(scores, end=2), op.Shape(eos_token_id), axis=0)
        index = op.Expand(op.Reshape(eos_token_id, [1, 1, -1]), shape)
        score = op.GatherElements(scores, index, axis=2)  # [B, n, E]
        raised = score + op.Abs(score) * op.Cast(rise, to=FLOAT.dtype)
        processed = op.ScatterElements(
            scores, index, op.Where(op.IsInf(score), score, raised), axis=2
        )
    else:
        processed = op.Identity(scores)
    return processed


@script(beamgen_ops, default_opset=op)
def suppress_tokens(scores, suppress_tokens):
    """-inf on ``suppress_tokens [m]``.

    Source: ``SuppressTokensLogitsProcessor``.
    """
    if op.Squeeze(op.Shape(suppress_tokens)) > 0:
        always = op.Cast(op.Constant(value_ints=[1]), to=BOOL.dtype)
        processed = beamgen_ops.suppress(scores, suppress_tokens, always)
    else:
        processed = op.Identity(scores)
    return processed


@script(beamgen_ops, default_opset=op)
def begin_suppress_tokens(scores, history, generated_len, begin_suppress_tokens, forced_bos):
    """-inf on ``begin_suppress_tokens [m]`` for the first token, or the one after a forced BOS.

    Source: ``SuppressTokensAtBeginLogitsProcessor`` and its begin_index in
    ``GenerationMixin._get_logits_processor``.
    """
    length = op.Shape(history, start=2)
    one_token = op.And(length - generated_len == 1, op.Shape(forced_bos) > 0)
    begin = op.Cast(one_token, to=INT64.dtype)
    now = op.And(generated_len == begin, op.Shape(begin_suppress_tokens) > 0)  # [1]
    if op.Squeeze(now):
        processed = beamgen_ops.suppress(scores, begin_suppress_tokens, now)
    else:
        processed = op.Identity(scores)
    return processed


@script(beamgen_ops, default_opset=op)
def renormalize(scores, renormalize_logits):
    """Log-probabilities that sum to 1 again; the last processor of all.

    Where every token is banned all stay so: HF has 0 / 0 there.

    Source: ``LogitNormalization``.
    """
    if op.Squeeze(renormalize_logits) != 0:
        normalized = op.LogSoftmax(scores, axis=-1)
        impossible = op.Constant(value_float=float("-inf"))
        processed = op.Where(op.IsNaN(normalized), impossible, normalized)
    else:
        processed = op.Identity(scores)
    return processed
