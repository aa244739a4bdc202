"""Each logits processor against its HF class, [B, n, V] flattened to HF's rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.onnx_functions import run
from transformers import GenerationConfig
from transformers.generation import GenerationMixin
from transformers.generation import logits_process as hf

from beamgen.search.functions import processors

B, N, V = 2, 3, 20
INF = float("inf")
NOTHING = np.array([], np.int64)
NO_FLOATS = np.array([], np.float32)
NO_SEQUENCES = np.empty((0, 1), np.int64)

Processor = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def random_scores(*, banned: float = 0.2, beams: int = N) -> np.ndarray:
    """Log-probabilities, some of them -inf already."""
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.normal(size=(B, beams, V)) * 3)
    scores = torch.log_softmax(logits, -1).float().numpy()
    scores[rng.random(scores.shape) < banned] = -INF
    return scores


def random_logits() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(B, N, V)).astype(np.float32) * 3


def odd_scores() -> np.ndarray:
    """With what arithmetic would not leave as it is."""
    scores = random_scores()
    scores[0, 0, :5] = -0.0, np.nan, INF, -INF, 1e-42
    return scores


def random_history(length: int, vocab: int = V) -> np.ndarray:
    return np.random.default_rng(length).integers(0, vocab, (B, N, length))


def by_hf(processor: Processor, history: np.ndarray, scores: np.ndarray) -> np.ndarray:
    rows = torch.tensor(scores.reshape(-1, V))
    ids = torch.tensor(history.reshape(-1, history.shape[2]))
    return processor(ids, rows.clone()).numpy().reshape(scores.shape)


def right_aligned(sequences: list[list[int]]) -> np.ndarray:
    longest = max(map(len, sequences))
    return np.array([[-1] * (longest - len(ids)) + ids for ids in sequences], np.int64)


def of_row(row: int, *arrays: Any) -> list[Any]:
    """Row ``row`` of what is [B, ...], by itself."""
    return [np.asarray(array)[row : row + 1] for array in arrays]


# -- what they are made of


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (np.array(True), True),
        (np.array(False), False),
        (np.zeros((2, 3), bool), False),
        (np.eye(3, dtype=bool), True),
        (np.zeros((2, 0), bool), False),
    ],
)
def test_anywhere(condition: np.ndarray, expected: bool) -> None:
    (found,) = run(processors.anywhere, condition)
    assert found.shape == ()
    assert found == expected


def test_token_history_is_prompt_and_running_tokens() -> None:
    prompt = [[0, 5], [6, 7]]
    running = [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [1, 1, 2]]]
    (found,) = run(processors.token_history, np.zeros((2, 2, 9), np.float32), prompt, running)
    assert found.tolist() == [
        [[0, 5, 1, 2, 3], [0, 5, 4, 5, 6]],
        [[6, 7, 7, 8, 9], [6, 7, 1, 1, 2]],
    ]


def test_token_history_before_the_first_step_is_one_prompt() -> None:
    running = np.zeros((2, 4, 0), np.int64)
    (found,) = run(
        processors.token_history, np.zeros((2, 1, 9), np.float32), [[0, 5], [6, 7]], running
    )
    assert found.tolist() == [[[0, 5]], [[6, 7]]]


def test_addends_of_one_token_add_up() -> None:
    (found,) = run(
        processors.add_to_tokens, np.zeros((2, 1, 4), np.float32), [[[1, 3, 1]]], [[[0.5, 2.0, 4]]]
    )
    assert found.tolist() == [[[0.0, 4.5, 0.0, 2.0]]] * 2


def test_suppress_holds_in_rows_where_it_is_time() -> None:
    scores = np.zeros((2, 2, 4), np.float32)
    (found,) = run(processors.suppress, scores, [1, 3], np.array([False, True]))
    assert found.tolist() == [[[0.0] * 4] * 2, [[0.0, -INF, 0.0, -INF]] * 2]
    (found,) = run(processors.suppress, scores, [0], np.array([True]))
    assert found.tolist() == [[[-INF, 0.0, 0.0, 0.0]] * 2] * 2


def test_force_holds_in_rows_where_it_is_time() -> None:
    scores = np.ones((2, 1, 4), np.float32)
    (found,) = run(processors.force, scores, [1, 3], np.array([False, True]))
    assert found.tolist() == [[[1.0] * 4], [[-INF, 0.0, -INF, 0.0]]]


SEQUENCES = right_aligned([[3], [2, 9], [1, 2, 9], [2, 1, 2, 9], [4, 2, 1, 2, 9], [2, 2, 9]])


@pytest.mark.parametrize(
    "completed",
    [
        # history: which of SEQUENCES the next token could complete, with 3 or 9
        {(2,): [0], (9,): [0]},  # as in HF only those no longer than the history
        {(1, 2): [0, 1], (2, 2): [0, 1], (2, 9): [0]},
        {(8, 1, 2): [0, 1, 2], (8, 2, 2): [0, 1, 5], (2, 8, 3): [0]},
        {(4, 2, 1, 2): [0, 1, 2, 3]},
        {(8, 4, 2, 1, 2): [0, 1, 2, 3, 4], (2, 1, 2, 9, 1): [0]},
    ],
)
def test_ends_with_by_hand(completed: dict[tuple[int, ...], list[int]]) -> None:
    (found,) = run(processors.ends_with, [list(completed)], SEQUENCES)
    assert [np.flatnonzero(beam).tolist() for beam in found[0]] == list(completed.values())


def test_ends_with_tells_rows_and_beams_apart() -> None:
    history = [[[7, 1], [7, 2]], [[7, 3], [7, 1]]]
    (found,) = run(processors.ends_with, history, [[1, 5], [2, 5]])
    assert found.tolist() == [[[True, False], [False, True]], [[False, False], [True, False]]]


def test_ends_with_of_single_tokens() -> None:
    (found,) = run(processors.ends_with, [[[7]]], [[1], [2], [7]])
    assert found.tolist() == [[[True, True, True]]]


def test_last_of_sequences() -> None:
    (found,) = run(processors.last_of_sequences, SEQUENCES)
    assert found.tolist() == [[[3, 9, 9, 9, 9, 9]]]


# -- whether there is work

OFF: dict[str, Any] = {
    "repetition_penalty": [1.0],
    "no_repeat_ngram_size": [0],
    "sequence_bias_ids": NO_SEQUENCES,
    "bad_words_ids": NO_SEQUENCES,
    "catalogue_tokens": NOTHING,
    "forced_bos_token_id": NOTHING,
    "forced_eos_token_id": NOTHING,
    "remove_invalid_values": [0],
    "exponential_decay_length_penalty": NO_FLOATS,
    "suppress_tokens": NOTHING,
    "begin_suppress_tokens": NOTHING,
    "renormalize_logits": [0],
    "do_sample": [0],
}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"repetition_penalty": [1.0, 1.0, 1.0]},
        {"no_repeat_ngram_size": [0, 0]},
        {"no_repeat_ngram_size": [-1]},
    ],
)
def test_nothing_is_in_use(changed: dict[str, Any]) -> None:
    (found,) = run(processors.in_use, *(OFF | changed).values())
    assert found.shape == ()
    assert not found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("repetition_penalty", [1.5]),
        ("repetition_penalty", [0.5]),
        ("repetition_penalty", [1.0, 1.0, 1.25]),
        ("no_repeat_ngram_size", [1]),
        ("no_repeat_ngram_size", [0, 3]),
        ("sequence_bias_ids", [[-1, 0], [4, 5]]),
        ("bad_words_ids", [[0]]),
        ("catalogue_tokens", [0, -1]),
        ("forced_bos_token_id", [0]),
        ("forced_eos_token_id", [0]),
        ("remove_invalid_values", [1]),
        ("exponential_decay_length_penalty", [3.0, 1.0]),
        ("suppress_tokens", [0]),
        ("begin_suppress_tokens", [0]),
        ("renormalize_logits", [1]),
        ("do_sample", [1]),
    ],
)
def test_each_setting_is_in_use_by_itself(name: str, value: Any) -> None:
    assert run(processors.in_use, *(OFF | {name: value}).values())[0]


@pytest.mark.parametrize(
    ("in_use", "shortest", "generated", "expected"),
    [
        (False, [0], 0, False),
        (False, [3], 2, True),
        (False, [3], 3, False),
        (False, [0, 4], 3, True),
        (False, [0, 4], 4, False),
        (True, [0], 5, True),
    ],
)
def test_have_work(in_use: bool, shortest: list[int], generated: int, expected: bool) -> None:
    (found,) = run(processors.have_work, np.array(in_use), shortest, [generated])
    assert found.shape == ()
    assert found == expected


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (processors.sequence_bias, [random_history(5), NO_SEQUENCES, NO_FLOATS]),
        (processors.repetition_penalty, [random_history(5), [1.0]]),
        (processors.repetition_penalty, [random_history(5), [1.0, 1.0]]),
        (processors.no_repeat_ngram, [random_history(5), [0]]),
        (processors.no_repeat_ngram, [random_history(5), [0, 0]]),
        (processors.bad_words, [random_history(5), NO_SEQUENCES, [2]]),
        (processors.bad_words, [random_history(5), NO_SEQUENCES, NOTHING]),
        (processors.min_new_tokens, [[3], [2], [0]]),
        (processors.min_new_tokens, [[3], [2], [3, 1]]),
        (processors.min_new_tokens, [[3], NOTHING, [9]]),
        (processors.forced_bos, [random_history(1), NOTHING]),
        (processors.forced_bos, [random_history(2), [4]]),
        (processors.forced_eos, [[3], NOTHING, [4]]),
        (processors.forced_eos, [[3], [2], [5]]),
        (processors.remove_invalid_values, [[0]]),
        (processors.exponential_decay_length, [[9], NO_FLOATS, [2]]),
        (processors.exponential_decay_length, [[9], [9.0, 1.5], [2]]),
        (processors.exponential_decay_length, [[9], [3.0, 1.5], NOTHING]),
        (processors.suppress_tokens, [NOTHING]),
        (processors.begin_suppress_tokens, [random_history(3), [0], NOTHING, NOTHING]),
        (processors.begin_suppress_tokens, [random_history(3), [1], [5], NOTHING]),
        (processors.renormalize, [[0]]),
    ],
)
def test_what_is_off_changes_no_bit(function: Any, inputs: list[Any]) -> None:
    scores = odd_scores()
    if function is processors.min_new_tokens and inputs[1] is NOTHING:
        scores = random_scores()
    (found,) = run(function, scores, *inputs)
    assert found.dtype == np.float32
    assert found.tobytes() == scores.tobytes()


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
        processors.sequence_bias,
        scores,
        history,
        right_aligned([list(sequence) for sequence in BIASES]),
        list(BIASES.values()),
    )
    expected = by_hf(hf.SequenceBiasLogitsProcessor(BIASES), history, scores)
    assert np.array_equal(found, expected)
    changed = set(np.flatnonzero((found != scores).any((0, 1))))
    fits = {sequence[-1] for sequence in BIASES if len(sequence) <= max(length, 1)}
    assert changed == fits


def test_biases_of_one_token_add_up_as_in_hf() -> None:
    biases = {(5,): 1.25, (4, 5): 0.3, (3, 4, 5): -0.7, (9, 4, 5): 8.0}
    scores, history = random_logits(), random_history(6)
    history[:, :, -2:] = [3, 4]
    (found,) = run(
        processors.sequence_bias,
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
        (found,) = run(processors.repetition_penalty, scores, history, [penalty])
        expected = by_hf(hf.RepetitionPenaltyLogitsProcessor(penalty), history, scores)
        assert np.array_equal(found, expected)
        assert not np.array_equal(found, scores)


def test_an_impossible_repetition_penalty_leaves_numbers() -> None:
    scores, history = random_logits(), random_history(5)
    np.put_along_axis(scores, history[..., :1], 0.0, axis=2)
    (found,) = run(processors.repetition_penalty, scores, history, [0.0, -3.0])
    assert not np.isnan(found).any()
    assert ((found > 0) == (scores > 0)).all()


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
        processors.no_repeat_ngram,
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
        (found,) = run(processors.no_repeat_ngram, scores, history, [size])
        expected = by_hf(hf.NoRepeatNGramLogitsProcessor(size), history, scores)
        assert np.array_equal(found, expected)
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
        (found,) = run(processors.bad_words, scores, history, right_aligned(BAD_WORDS), ids(*eos))
        assert np.array_equal(found, by_hf(processor, history, scores))
        assert np.isneginf(found[..., 3]).all()
        assert np.isneginf(found[:, 1, 2]).all() == (2 not in eos or length > 1)


def test_a_bad_word_that_is_one_eos_alone_is_passed_over() -> None:
    words, history = right_aligned([[2], [11], [7, 2]]), np.full((B, N, 4), 5)
    scores = random_scores(banned=0)
    (found,) = run(processors.bad_words, scores, history, words, [2])
    assert np.isneginf(found[..., 11]).all()
    assert not np.isneginf(found[..., 2]).any()
    history[..., -1] = 7  # 2 ends the other one: HF lets that ban an EOS
    (found,) = run(processors.bad_words, scores, history, words, [2])
    assert np.isneginf(found[..., 2]).all()


# -- lengths


@pytest.mark.parametrize("eos", [[2], [2, 5], [2, 5, 19], []])
def test_min_new_tokens_equals_hf(eos: list[int]) -> None:
    prompt_len, generated, shortest = 4, 3, [0, 3, 4, 9]
    scores, history = random_scores(banned=0)[:1], random_history(prompt_len + generated)[:1]
    (found,) = run(
        processors.min_new_tokens, np.repeat(scores, 4, 0), [generated], ids(*eos), shortest
    )
    for row, least in enumerate(shortest):
        expected = scores
        if eos:
            new = hf.MinNewTokensLengthLogitsProcessor(prompt_len, least, eos)
            total = hf.MinLengthLogitsProcessor(prompt_len + least, eos)
            expected = by_hf(new, history, scores)
            assert np.array_equal(expected, by_hf(total, history, scores))
        assert np.array_equal(found[row], expected[0])
        assert np.isinf(found[row]).any() == (bool(eos) and least > generated)


@pytest.mark.parametrize("length", [1, 2])
def test_forced_bos_equals_hf(length: int) -> None:
    scores, history = odd_scores(), random_history(length)
    (found,) = run(processors.forced_bos, scores, history, [4])
    expected = by_hf(hf.ForcedBOSTokenLogitsProcessor(4), history, scores)
    assert np.array_equal(found, expected, equal_nan=True)
    assert (found[..., 4] == 0).all() == (length == 1)


@pytest.mark.parametrize("forced", [[2], [2, 7, 19]])
@pytest.mark.parametrize("generated", [0, 3, 4, 5])
def test_forced_eos_equals_hf(generated: int, forced: list[int]) -> None:
    prompt_len, longest = 3, 5
    scores, history = odd_scores(), random_history(prompt_len + generated)
    (found,) = run(processors.forced_eos, scores, [generated], forced, [longest])
    processor = hf.ForcedEOSTokenLogitsProcessor(prompt_len + longest, forced)
    assert np.array_equal(found, by_hf(processor, history, scores), equal_nan=True)
    assert np.isneginf(found[..., 5]).all() == (generated == longest - 1)


@pytest.mark.parametrize("eos", [[2], [2, 5, 9]])
def test_exponential_decay_equals_hf(eos: list[int]) -> None:
    prompt_len = 3
    scores = np.concatenate([random_scores(banned=0)[:1], random_logits()[:1]])
    for (start, factor), generated in [
        ((2, 1.5), 2),
        ((2, 1.5), 3),
        ((2, 1.5), 9),
        ((1, 1.01), 60),
        ((1, 0.5), 4),
        ((1, 1.0), 4),
    ]:
        history = random_history(prompt_len + generated)
        (found,) = run(
            processors.exponential_decay_length, scores, [generated], [float(start), factor], eos
        )
        processor = hf.ExponentialDecayLengthPenalty((start, factor), eos, prompt_len)
        # 1.01 as a float32 input is not quite Python's 1.01
        np.testing.assert_allclose(found, by_hf(processor, history, scores), rtol=1e-5, atol=1e-7)
        others = np.delete(np.arange(V), eos)
        assert np.array_equal(found[..., others], scores[..., others])
        assert np.array_equal(found, scores) == (generated <= start or factor == 1)


@pytest.mark.parametrize("factor", [1.5, 0.5])
def test_an_eos_that_may_not_come_does_not_decay(factor: float) -> None:
    scores = random_scores(banned=0)
    scores[0, :, 2] = -INF
    (found,) = run(processors.exponential_decay_length, scores, [4], [1.0, factor], [2, 5])
    assert np.isneginf(found[0, :, 2]).all()
    assert not np.isnan(found).any()
    assert (found[1, :, 2] != scores[1, :, 2]).all()


# -- bans


@pytest.mark.parametrize("tokens", [[4], [0, 7, 7, 19]])
def test_suppress_tokens_equals_hf(tokens: list[int]) -> None:
    scores = random_scores()
    (found,) = run(processors.suppress_tokens, scores, tokens)
    processor = hf.SuppressTokensLogitsProcessor(tokens)
    assert np.array_equal(found, by_hf(processor, random_history(3), scores))


@pytest.mark.parametrize("forced_bos", [None, 6])
@pytest.mark.parametrize("prompt_len", [1, 2, 5])
def test_begin_suppress_tokens_equals_hf(prompt_len: int, forced_bos: int | None) -> None:
    # with HF's own rule for where a sequence begins
    config = GenerationConfig(begin_suppress_tokens=[3, 8], forced_bos_token_id=forced_bos)
    processor = GenerationMixin()._get_logits_processor(config, prompt_len)[-1]
    scores, begins = random_scores(banned=0), []
    for generated in range(3):
        history = random_history(prompt_len + generated)
        (found,) = run(
            processors.begin_suppress_tokens,
            scores,
            history,
            [generated],
            [3, 8],
            NOTHING if forced_bos is None else [forced_bos],
        )
        assert np.array_equal(found, by_hf(processor, history, scores))
        begins.append(bool(np.isinf(found).any()))
    later = prompt_len == 1 and forced_bos is not None
    assert begins == [not later, later, False]


# -- the whole distribution


def test_remove_invalid_values_equals_hf() -> None:
    scores = odd_scores()
    (found,) = run(processors.remove_invalid_values, scores, [1])
    expected = by_hf(hf.InfNanRemoveLogitsProcessor(), random_history(3), scores)
    assert np.array_equal(found, expected)
    assert np.isfinite(found).all()


def test_renormalize_equals_hf() -> None:
    scores = random_logits()
    scores[:, 1, ::2] = -INF
    scores[:, 2, 1:] = -INF
    (found,) = run(processors.renormalize, scores, [1])
    expected = by_hf(hf.LogitNormalization(), random_history(3), scores)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.exp(found).sum(-1), 1, atol=1e-6)


def test_where_every_token_is_banned_all_stay_banned() -> None:
    scores = random_logits()
    scores[1, 2] = -INF
    (found,) = run(processors.renormalize, scores, [1])
    assert np.isneginf(found[1, 2]).all()
    assert np.isfinite(np.delete(found.reshape(-1, V), B * N - 1, axis=0)).all()


@pytest.mark.parametrize(
    ("function", "inputs", "processor"),
    [
        (
            processors.min_new_tokens,
            [[1], [1, 2], [3]],
            hf.MinNewTokensLengthLogitsProcessor(2, 3, [1, 2]),
        ),
        (
            processors.no_repeat_ngram,
            [np.full((B, N, 3), [2, 1, 3]), [1]],
            hf.NoRepeatNGramLogitsProcessor(1),
        ),
        (processors.suppress_tokens, [[1, 2]], hf.SuppressTokensLogitsProcessor([1, 2])),
        (
            processors.begin_suppress_tokens,
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
        (processors.repetition_penalty, [random_history(9)], [1.0, 1.7]),
        (processors.no_repeat_ngram, [random_history(30, vocab=3)], [4, 2]),
        (processors.no_repeat_ngram, [random_history(30, vocab=3)], [0, 3]),
        (processors.no_repeat_ngram, [random_history(5, vocab=3)], [2, 50]),
        (processors.min_new_tokens, [[3], [2, 5]], [3, 4]),
        (processors.forced_eos, [[3], [2, 5]], [4, 5]),
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
