"""What is repeated or banned in sequences, against HF's classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.onnx_functions import run
from support.scores import (
    INF,
    B,
    N,
    V,
    as_biased_read,
    by_hf,
    compiled,
    ids,
    random_history,
    random_logits,
    random_scores,
    right_aligned,
)
from transformers.generation import logits_process as hf

from beamgen.settings.rules import installed_rules

# -- sequence bias

# The last tokens differ: a token that two sequences bias is a test of its own.
BIASES = {
    (3,): 1.5,
    (0,): -INF,
    (7, 4): -2.5,
    (1, 2, 5): 0.75,
    (6, 6, 6): 100.0,
    (2, 1, 2, 1, 9): -0.3,
}


ENDINGS = [[], [7], [1, 2], [6, 6], [2, 1, 2, 1], [4, 4], [1, 1, 1, 1], [2, 11], [2]]


def histories_ending(length: int) -> np.ndarray:
    """One beam for each of ENDINGS that fits, ``[B, n, length]``, the rest random."""
    endings = [ending for ending in ENDINGS if len(ending) <= length]
    history = np.random.default_rng(length).integers(12, V, (B, len(endings), length))
    for beam, ending in enumerate(endings):
        history[:, beam, length - len(ending) :] = ending
    return history


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8])
def test_sequence_bias_equals_hf(length: int) -> None:
    history = histories_ending(length)
    scores = random_scores(beams=history.shape[1])
    (found,) = run(
        compiled.sequence_bias,
        scores,
        as_biased_read(history),
        right_aligned([list(sequence) for sequence in BIASES]),
        list(BIASES.values()),
    )
    expected = by_hf(hf.SequenceBiasLogitsProcessor(BIASES), history, scores)
    assert np.array_equal(found, expected)
    changed = set(np.flatnonzero((found != scores).any((0, 1))))
    longest = length + installed_rules().bias_reaches_back
    fits = {sequence[-1] for sequence in BIASES if len(sequence) <= longest}
    assert changed == fits


def test_biases_of_one_token_add_up_as_in_hf() -> None:
    biases = {(5,): 1.25, (4, 5): 0.3, (3, 4, 5): -0.7, (9, 4, 5): 8.0}
    scores, history = random_logits(), random_history(6)
    history[:, :, -2:] = [3, 4]
    (found,) = run(
        compiled.sequence_bias,
        scores,
        history,
        right_aligned([list(sequence) for sequence in biases]),
        list(biases.values()),
    )
    expected = by_hf(hf.SequenceBiasLogitsProcessor(biases), history, scores)
    # HF sums the biases first: other roundings
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose((found - scores)[..., 5], 0.85, atol=1e-6)


# -- repetition penalty


@pytest.mark.parametrize("penalty", [0.25, 1.3, 5.0])
def test_repetition_penalty_equals_hf(penalty: float) -> None:
    scores = np.concatenate([random_scores()[:1], random_logits()[:1]])
    for length in (1, 30):  # 30 of 20 ids: some are repeated
        history = random_history(length)
        (found,) = run(compiled.repetition_penalty, scores, history, [penalty])
        expected = by_hf(hf.RepetitionPenaltyLogitsProcessor(penalty), history, scores)
        assert np.array_equal(found, expected)
        assert not np.array_equal(found, scores)


def test_an_impossible_repetition_penalty_leaves_numbers() -> None:
    scores, history = random_logits(), random_history(5)
    np.put_along_axis(scores, history[..., :1], 0.0, axis=2)
    (found,) = run(compiled.repetition_penalty, scores, history, [0.0, -3.0])
    assert not np.isnan(found).any()
    assert ((found > 0) == (scores > 0)).all()


@pytest.mark.parametrize("penalty", [0.25, 1.3, 5.0])
def test_encoder_repetition_penalty_equals_hf_row_by_row(penalty: float) -> None:
    """HF's class takes a row of ids for each row of scores: one beam, or any before 5.20."""
    scores = np.concatenate([random_scores()[:1], random_logits()[:1]])
    source = random_history(30)[:, 0]  # 30 of 20 ids: some are repeated
    (found,) = run(compiled.encoder_repetition_penalty, scores, source, [penalty])
    for row, ids_of_row in enumerate(source):
        each_beam = torch.tensor(ids_of_row).repeat(N, 1)
        processor = hf.EncoderRepetitionPenaltyLogitsProcessor(penalty, each_beam)
        alone = scores[row : row + 1]
        expected = by_hf(processor, random_history(3)[:1], alone)
        np.testing.assert_allclose(found[row : row + 1], expected, rtol=1e-6)
    assert not np.array_equal(found, scores)


def test_each_row_has_an_encoder_repetition_penalty_of_its_own() -> None:
    scores, source = random_logits(), random_history(4)[:, 0]
    (found,) = run(compiled.encoder_repetition_penalty, scores, source, [1.0, 1.5])
    assert np.array_equal(found[0], scores[0])
    raised = np.unique(source[1])
    assert (found[1][:, raised] > scores[1][:, raised]).all()
    others = np.setdiff1d(np.arange(scores.shape[2]), raised)
    assert np.array_equal(found[1][:, others], scores[1][:, others])


# -- n-grams


@pytest.mark.parametrize(
    ("history", "banned"),
    [
        ([1, 2, 3, 1, 2], {1: {1, 2, 3}, 2: {3}, 3: {3}, 4: set(), 9: set()}),
        ([1, 2, 1, 3, 1], {2: {2, 3}, 3: set()}),  # two continuations of 1
        ([5, 5, 5], {1: {5}, 2: {5}, 3: {5}, 4: set(), 5: set()}),  # it may overlap itself
        ([5], {1: {5}, 2: set(), 3: set()}),
        ([4, 1, 2, 3, 4, 1, 2, 3], {5: {4}, 8: set()}),
        ([9, 2, 7, 1, 2], {2: {7}, 3: set()}),  # 2 alone is no 1 2
        ([0, 8, 0, 0], {1: {0, 8}, 2: {0, 8}, 3: set()}),  # the padding counts, as in HF
    ],
)
def test_no_repeat_ngram_by_hand(history: list[int], banned: dict[int, set[int]]) -> None:
    rows = len(banned)
    (found,) = run(
        compiled.no_repeat_ngram_size,
        np.zeros((rows, 1, 10), np.float32),
        [[history]] * rows,
        list(banned),
    )
    assert np.isin(found, [0.0, -INF]).all()
    sets = [set(np.flatnonzero(np.isneginf(row))) for row in found[:, 0]]
    assert dict(zip(banned, sets, strict=True)) == banned


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_no_repeat_ngram_equals_hf(size: int) -> None:
    scores, changed = random_scores(banned=0.1), 0
    for length in (1, 3, 40):
        history = random_history(length, vocab=3)
        (found,) = run(compiled.no_repeat_ngram_size, scores, history, [size])
        expected = by_hf(hf.NoRepeatNGramLogitsProcessor(size), history, scores)
        assert np.array_equal(found, expected)
        changed += (found != scores).sum()
    assert changed


@pytest.mark.parametrize(
    ("prompt", "generated", "banned"),
    [
        ([1, 2, 3, 1], [2], {1: {1, 2, 3}, 2: {3}, 3: {3}, 4: set()}),  # 1 2 goes on with 3
        ([1, 2], [5, 5], {1: {1, 2}, 2: set()}),  # what was generated may come again
        ([1, 2, 3], [1], {2: {2}, 3: set()}),
        ([0, 0, 4], [0], {2: {0, 4}}),  # the padding counts, as in HF
    ],
)
def test_no_ngram_of_the_prompt_comes_again_by_hand(
    prompt: list[int], generated: list[int], banned: dict[int, set[int]]
) -> None:
    rows = len(banned)
    (found,) = run(
        compiled.encoder_no_repeat_ngram_size,
        np.zeros((rows, 1, 10), np.float32),
        [[[*prompt, *generated]]] * rows,
        [prompt] * rows,
        list(banned),
    )
    sets = [set(np.flatnonzero(np.isneginf(row))) for row in found[:, 0]]
    assert dict(zip(banned, sets, strict=True)) == banned


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_encoder_no_repeat_ngram_equals_hf(size: int) -> None:
    scores, changed = random_scores(banned=0.1), 0
    for prompt_len, length in ((1, 1), (3, 9), (40, 44)):
        history = random_history(length, vocab=3)
        history[:, :, :prompt_len] = history[:, :1, :prompt_len]  # one prompt for all beams
        prompt = history[:, 0, :prompt_len]
        (found,) = run(compiled.encoder_no_repeat_ngram_size, scores, history, prompt, [size])
        processor = hf.EncoderNoRepeatNGramLogitsProcessor(size, torch.tensor(prompt))
        assert np.array_equal(found, by_hf(processor, history, scores))
        changed += (found != scores).sum()
    assert changed


# -- bad words

BAD_WORDS = [[3], [2], [11], [7, 2], [4, 4, 8], [1, 1, 1, 1, 6], [2, 11, 9]]


@pytest.mark.parametrize("eos", [[], [2], [2, 11], [7]])
def test_bad_words_equal_hf(eos: list[int]) -> None:
    processor = hf.NoBadWordsLogitsProcessor(BAD_WORDS, eos or None)
    for length in (1, 2, 5, 9):
        history = histories_ending(length)
        scores = random_scores(beams=history.shape[1])
        words, read = right_aligned(BAD_WORDS), as_biased_read(history)
        (found,) = run(compiled.bad_words_ids, scores, read, words, ids(*eos))
        assert np.array_equal(found, by_hf(processor, history, scores))
        assert np.isneginf(found[..., 3]).all()
        longest = length + installed_rules().bias_reaches_back
        assert np.isneginf(found[:, 1, 2]).all() == (2 not in eos or longest > 1)


def test_a_bad_word_that_is_one_eos_alone_is_passed_over() -> None:
    words, history = right_aligned([[2], [11], [7, 2]]), np.full((B, N, 4), 5)
    scores = random_scores(banned=0)
    (found,) = run(compiled.bad_words_ids, scores, history, words, [2])
    assert np.isneginf(found[..., 11]).all()
    assert not np.isneginf(found[..., 2]).any()
    history[..., -1] = 7  # 2 ends the other one: HF lets that ban an EOS
    (found,) = run(compiled.bad_words_ids, scores, history, words, [2])
    assert np.isneginf(found[..., 2]).all()
