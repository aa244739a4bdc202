"""What all processors share: off changes no bit, bans hold, each row may have its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.onnx_functions import run
from support.scores import (
    NO_FLOATS,
    NO_SEQUENCES,
    NOTHING,
    B,
    N,
    Processor,
    by_hf,
    compiled,
    odd_scores,
    of_row,
    random_history,
    random_scores,
)
from transformers.generation import logits_process as hf


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (compiled.sequence_bias, [random_history(5), NO_SEQUENCES, NO_FLOATS]),
        (compiled.encoder_repetition_penalty, [random_history(5)[:, 0], [1.0]]),
        (compiled.encoder_repetition_penalty, [random_history(5)[:, 0], [1.0, 1.0]]),
        (compiled.repetition_penalty, [random_history(5), [1.0]]),
        (compiled.repetition_penalty, [random_history(5), [1.0, 1.0]]),
        (compiled.no_repeat_ngram_size, [random_history(5), [0]]),
        (compiled.no_repeat_ngram_size, [random_history(5), [0, 0]]),
        (compiled.encoder_no_repeat_ngram_size, [random_history(5), random_history(3)[:, 0], [0]]),
        (compiled.bad_words_ids, [random_history(5), NO_SEQUENCES, [2]]),
        (compiled.bad_words_ids, [random_history(5), NO_SEQUENCES, NOTHING]),
        (compiled.min_new_tokens, [[3], [2], [0]]),
        (compiled.min_new_tokens, [[3], [2], [3, 1]]),
        (compiled.min_new_tokens, [[3], NOTHING, [9]]),
        (compiled.forced_bos_token_id, [random_history(1), NOTHING]),
        (compiled.forced_bos_token_id, [random_history(1), [-1]]),
        (compiled.forced_bos_token_id, [random_history(1), [-1, -1]]),
        (compiled.forced_bos_token_id, [random_history(2), [4]]),
        (compiled.forced_eos_token_id, [[3], NOTHING, [4]]),
        (compiled.forced_eos_token_id, [[3], [2], [5]]),
        (compiled.remove_invalid_values, [[0]]),
        (compiled.exponential_decay_length_penalty, [[9], NO_FLOATS, [2]]),
        (compiled.exponential_decay_length_penalty, [[9], [9.0, 1.5], [2]]),
        (compiled.exponential_decay_length_penalty, [[9], [3.0, 1.5], NOTHING]),
        (compiled.suppress_tokens, [NOTHING]),
        (compiled.begin_suppress_tokens, [random_history(3), [0], NOTHING, [-1]]),
        (compiled.begin_suppress_tokens, [random_history(3), [1], [5], [-1]]),
        (compiled.renormalize_logits, [[0]]),
    ],
)
def test_what_is_off_changes_no_bit(function: Any, inputs: list[Any]) -> None:
    scores = odd_scores()
    if function is compiled.min_new_tokens and inputs[1] is NOTHING:
        scores = random_scores()
    (found,) = run(function, scores, *inputs)
    assert found.dtype == np.float32
    assert found.tobytes() == scores.tobytes()


@pytest.mark.parametrize(
    ("function", "inputs", "processor"),
    [
        (
            compiled.min_new_tokens,
            [[1], [1, 2], [3]],
            hf.MinNewTokensLengthLogitsProcessor(2, 3, [1, 2]),
        ),
        (
            compiled.no_repeat_ngram_size,
            [np.full((B, N, 3), [2, 1, 3]), [1]],
            hf.NoRepeatNGramLogitsProcessor(1),
        ),
        (compiled.suppress_tokens, [[1, 2]], hf.SuppressTokensLogitsProcessor([1, 2])),
        (
            compiled.begin_suppress_tokens,
            [np.full((B, N, 3), [2, 1, 3]), [0], [1, 2], NOTHING],
            hf.SuppressTokensAtBeginLogitsProcessor([1, 2], 3),
        ),
    ],
)
def test_a_ban_holds_where_there_is_no_number_as_in_hf(
    function: Any, inputs: list[Any], processor: Processor
) -> None:
    scores, history = odd_scores(), np.full((B, N, 3), [2, 1, 3])
    (found,) = run(function, scores, *inputs)
    expected = by_hf(processor, history, scores)
    assert np.isneginf(expected[..., 1:3]).all()
    assert np.array_equal(found, expected, equal_nan=True)


# -- a parameter of each row


@pytest.mark.parametrize(
    ("function", "inputs", "per_row"),
    [
        (compiled.repetition_penalty, [random_history(9)], [1.0, 1.7]),
        (compiled.no_repeat_ngram_size, [random_history(30, vocab=3)], [4, 2]),
        (compiled.no_repeat_ngram_size, [random_history(30, vocab=3)], [0, 3]),
        (compiled.no_repeat_ngram_size, [random_history(5, vocab=3)], [2, 50]),
        (compiled.min_new_tokens, [[3], [2, 5]], [3, 4]),
        (compiled.forced_eos_token_id, [[3], [2, 5]], [4, 5]),
    ],
)
def test_each_row_may_have_its_own(function: Any, inputs: list[Any], per_row: list[Any]) -> None:
    scores = random_scores(banned=0)
    (found,) = run(function, scores, *inputs, per_row)
    changed = []
    for row in range(B):
        own = [value[row : row + 1] if isinstance(value, np.ndarray) else value for value in inputs]
        (alone,) = run(function, *of_row(row, scores), *own, [per_row[row]])
        assert np.array_equal(found[row], alone[0])
        changed.append(not np.array_equal(alone[0], scores[row]))
    assert any(changed)
    assert not np.array_equal(found, run(function, scores, *inputs, per_row[::-1])[0])
