"""Each function of the search step: by hand, and against HF's own on random numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from support.onnx_functions import run
from transformers.generation import GenerationMixin

from beamgen.search.functions import beam_search

HF = GenerationMixin()
EARLY = {False: 0, True: 1, "never": 2}
NOTHING = np.array([], np.int64)


def log_probs(*shape: int, seed: int = 0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=shape)
    return torch.log_softmax(torch.tensor(logits, dtype=torch.float32), -1).numpy()


def test_gather_beams_takes_rows_by_index() -> None:
    x = [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    (found,) = run(beam_search.gather_beams, x, [[1, 1, 0], [0, 0, 0]])
    assert found.tolist() == [[[3, 4], [3, 4], [1, 2]], [[5, 6], [5, 6], [5, 6]]]


@pytest.mark.parametrize("penalty", [0.0, 1.0, -0.5, 2.0, 3.7])
def test_length_penalised_is_torch_division_to_rounding(penalty: float) -> None:
    scores, lengths = log_probs(4, 3) * 40, [1, 3, 7, 61]
    (found,) = run(beam_search.length_penalised, scores, np.array([lengths]).T, [penalty])
    for row, length in enumerate(lengths):
        expected = (torch.tensor(scores[row]) / (length**penalty)).numpy()
        # 3.7 as a float32 input is not quite Python's 3.7
        np.testing.assert_array_max_ulp(found[row], expected, maxulp=4)
    (found_first,) = run(beam_search.length_penalised, scores, [7], [penalty])
    assert np.array_equal(found_first[2], found[2])


def test_top_k_continuations_by_hand() -> None:
    # Two beams over a vocabulary of three: the second beam starts 1 behind.
    probabilities = np.log([[[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]]).astype(np.float32)
    scores, tokens, beams, own = run(
        beam_search.get_top_k_continuations, probabilities, [[0.0, -1.0]], [2]
    )
    # log .5 = -.69, log .3 = -1.20, log .8 - 1 = -1.22, log .2 = -1.61
    assert tokens.tolist() == [[0, 1, 2, 2]]
    assert beams.tolist() == [[0, 0, 1, 0]]
    np.testing.assert_allclose(scores, [[-0.6931, -1.2040, -1.2231, -1.6094]], atol=1e-4)
    np.testing.assert_allclose(np.exp(own), [[0.5, 0.3, 0.8, 0.2]], rtol=1e-6)


def test_top_k_before_the_first_step_reads_one_beam_only() -> None:
    # The prompt gives one row of log-probabilities; all but beam 0 start at -1e9.
    probabilities = log_probs(2, 1, 30)
    scores, tokens, beams, own = run(
        beam_search.get_top_k_continuations, probabilities, [[0.0, -1e9, -1e9]] * 2, [1]
    )
    assert (beams == 0).all()
    assert (scores > -100).all()
    assert np.array_equal(own, scores)
    assert np.array_equal(own, np.take_along_axis(probabilities[:, 0], tokens, 1))


def test_dead_beams_have_log_probabilities_of_the_prompt_too() -> None:
    # two tokens for three beams: the first step has to take dead ones
    probabilities = np.log([[[0.75, 0.25]]]).astype(np.float32)
    scores, tokens, beams, own = run(
        beam_search.get_top_k_continuations, probabilities, [[0.0, -1e9, -1e9]], NOTHING
    )
    assert tokens.shape == (1, 6)
    assert np.array_equal(own, probabilities[0, 0][tokens])
    assert (beams[scores > -100] == 0).all()
    assert ((scores < -1e8).sum(), (beams == 0).sum()) == (4, 2)


@pytest.mark.parametrize("eos", [[], [2], [2, 5], [2, 5, 6, 7]])
def test_top_k_continuations_equals_hf(eos: list[int]) -> None:
    batch, beams, vocab, length = 3, 4, 50, 6
    probabilities = log_probs(batch, beams, vocab)
    running = -np.random.default_rng(1).random((batch, beams)).astype(np.float32)
    kept = max(2, 1 + len(eos)) * beams
    accumulated = torch.tensor(probabilities) + torch.tensor(running)[:, :, None]
    expected, sequences, indices = HF._get_top_k_continuations(
        accumulated.reshape(batch, -1),
        torch.zeros(batch, beams, length + 1, dtype=torch.long),
        torch.zeros(batch, beams, length + 1, dtype=torch.long),
        length, 0, False, kept, beams, batch_size=batch, vocab_size=vocab,
    )  # fmt: skip
    scores, tokens, parents, own = run(
        beam_search.get_top_k_continuations, probabilities, running, np.array(eos, np.int64)
    )
    assert np.array_equal(scores, expected.numpy())
    assert np.array_equal(tokens, sequences[:, :, length].numpy())
    offset = np.arange(batch)[:, None] * beams
    assert np.array_equal(parents + offset, indices[:, :, length].numpy())
    (numbered,) = run(beam_search.numbered_in_batch, parents, running)
    assert np.array_equal(numbered, indices[:, :, length].numpy())
    assert np.array_equal(own, probabilities[np.arange(batch)[:, None], parents, tokens])


NO_IDS = np.array([], np.int64)


def test_a_sequence_ends_at_any_eos_or_at_its_rows_length() -> None:
    tokens, no = [[7, 2, 5], [7, 8, 9]], np.zeros((2, 3), bool)
    (hits,) = run(beam_search.hits_stopping_criteria, tokens, [3], [2, 5], [4, 3], no)
    assert hits.tolist() == [[False, True, True], [True, True, True]]
    (hits,) = run(beam_search.hits_stopping_criteria, tokens, [3], NO_IDS, [9], no)
    assert not hits.any()
    stopped = np.array([[False, True, False], [True, False, False]])
    (hits,) = run(beam_search.hits_stopping_criteria, tokens, [3], NO_IDS, [9], stopped)
    assert np.array_equal(hits, stopped)


def test_running_beams_equal_hf_and_leave_the_finished_behind() -> None:
    scores = np.sort(log_probs(3, 8), axis=1)[:, ::-1].copy()
    hits = np.random.default_rng(3).permuted(np.arange(8) < [[3]] * 3, axis=1)
    order = torch.arange(8).expand(3, 8)[:, :, None]
    expected_order, expected, _ = HF._get_running_beams_for_next_iteration(
        torch.tensor(scores), order, order, torch.tensor(hits), 4
    )
    found, index = run(beam_search.get_running_beams_for_next_iteration, scores, hits, [4])
    assert np.array_equal(found, expected.numpy())
    assert np.array_equal(index, expected_order[:, :, 0].numpy())
    assert not np.take_along_axis(hits, index, 1).any()


@pytest.mark.parametrize("early", EARLY)
@pytest.mark.parametrize("penalty", [0.0, 1.0, -0.5])
def test_finished_beams_equal_hf(penalty: float, early: bool | str) -> None:
    rng = np.random.default_rng(4)
    batch, beams, kept, length = 6, 4, 8, 9
    finished = np.sort(-rng.random((batch, beams)).astype(np.float32), axis=1)[:, ::-1].copy()
    done = rng.random((batch, beams)) < 0.7
    done[0] = True
    finished[~done] = -1e9
    scores = np.sort(-9 * rng.random((batch, kept)).astype(np.float32), axis=1)[:, ::-1].copy()
    hits = rng.random((batch, kept)) < 0.5
    unsatisfied = np.array([[True], [False], [True], [True], [False], [True]])
    order = torch.arange(beams + kept).expand(batch, -1)[:, :, None]
    index, expected, _, expected_done = HF._update_finished_beams(
        order[:, :beams], order[:, beams:], torch.tensor(finished), torch.tensor(scores),
        order[:, :beams], order[:, beams:], torch.tensor(unsatisfied), torch.tensor(done),
        torch.tensor(hits), torch.arange(kept) < beams, beams, length - 1, 0, penalty, early,
    )  # fmt: skip
    found, found_done, found_index = run(
        beam_search.update_finished_beams,
        finished, done, scores, hits, unsatisfied, [length], [penalty], [EARLY[early]],
    )  # fmt: skip
    assert np.array_equal(found, expected.numpy())
    assert np.array_equal(found_done, expected_done.numpy())
    # Below -1e8 stand fillers, all equal, of which any may be taken.
    real = found > -1e8
    assert real.any()
    assert np.array_equal(found_index[real], index[:, :, 0].numpy()[real])


def test_a_candidate_behind_the_first_k_never_becomes_a_hypothesis() -> None:
    scores, hits = [[-1.0, -2.0, -3.0, -4.0]], [[False, False, True, True]]
    found, done, _ = run(
        beam_search.update_finished_beams,
        [[-1e9, -1e9]], [[False, False]], scores, hits, [[True]], [1], [1.0], [0],
    )  # fmt: skip
    assert not done.any()
    assert (found < -1e8).all()


@pytest.mark.parametrize("early", EARLY)
@pytest.mark.parametrize("penalty", [0.0, 1.0, -0.5])
def test_early_stop_heuristic_equals_hf(penalty: float, early: bool | str) -> None:
    rng = np.random.default_rng(5)
    batch, beams = 64, 3
    running = np.sort(-8 * rng.random((batch, beams)).astype(np.float32), axis=1)[:, ::-1].copy()
    finished = -2 * rng.random((batch, beams)).astype(np.float32)
    done = rng.random((batch, beams)) < 0.8
    before = rng.random((batch, 1)) < 0.8
    expected = HF._check_early_stop_heuristic(
        torch.tensor(before), torch.tensor(running), torch.tensor(finished), torch.tensor(done),
        7, 20, 0, early, penalty,
    )  # fmt: skip
    (found,) = run(
        beam_search.check_early_stop_heuristic,
        before, running, finished, done, [7], [20], [penalty], [EARLY[early]],
    )  # fmt: skip
    assert np.array_equal(found, expected.numpy())
    assert 0 < found.sum() < batch


@pytest.mark.parametrize("early", EARLY)
def test_unfinished_sequences_equal_hf(early: bool | str) -> None:
    answers = set()
    none, one, both = [[False], [False]], [[False], [True]], [[True], [True]]
    for flags in itertools.product([none, one], [one, both], [one, both]):
        unsatisfied, done, hits = np.array(flags)
        expected = HF._beam_search_has_unfinished_sequences(
            torch.tensor(unsatisfied), torch.tensor(done), torch.tensor(hits), early
        )
        (found,) = run(
            beam_search.beam_search_has_unfinished_sequences,
            unsatisfied, done, hits, [EARLY[early]],
        )  # fmt: skip
        assert bool(found) == bool(expected)
        answers.add(bool(found))
    assert answers == {True, False}


# Two running beams of two tokens, two hypotheses held, four continuations.
BEAMS, RUNNING_INDEX, FINISHED_INDEX = [[0, 1, 1, 0]], [[2, 0]], [[5, 0]]


def test_extend_sequences_by_hand() -> None:
    running, finished = run(
        beam_search.extend_sequences,
        [[[1, 2], [1, 3]]],
        [[[9, 0], [8, 7]]],  # the first is of one token
        [[[4], [5], [6], [2]]],
        [0],
        BEAMS,
        RUNNING_INDEX,  # the third and the first go on
        FINISHED_INDEX,  # the fourth (2 + 3) is finished, the first hypothesis stays
    )
    assert running.tolist() == [[[1, 3, 6], [1, 2, 4]]]
    assert finished.tolist() == [[[1, 2, 2], [9, 0, 0]]]


def test_sequences_of_log_probabilities_are_extended_alike() -> None:
    running, finished = run(
        beam_search.extend_sequences,
        [[[-1.0], [-2.0]]],
        [[[-3.0], [-4.0]]],
        [[[-5.0], [-6.0], [-7.0], [-8.0]]],
        [0.5],
        BEAMS,
        RUNNING_INDEX,
        FINISHED_INDEX,
    )
    assert running.tolist() == [[[-2.0, -7.0], [-1.0, -5.0]]]
    assert finished.tolist() == [[[-1.0, -8.0], [-3.0, 0.5]]]


def test_what_is_not_kept_stays_empty() -> None:
    running, finished = run(
        beam_search.extend_sequences,
        np.zeros((1, 2, 0), np.float32),
        np.zeros((1, 2, 0), np.float32),
        np.zeros((1, 4, 0), np.float32),
        [0.0],
        BEAMS,
        RUNNING_INDEX,
        FINISHED_INDEX,
    )
    assert running.shape == finished.shape == (1, 2, 0)


def test_extend_lengths_by_hand() -> None:
    lengths, parents = run(
        beam_search.extend_lengths, [[1, 2]], [3], BEAMS, RUNNING_INDEX, FINISHED_INDEX
    )
    assert lengths.tolist() == [[3, 1]]
    assert parents.tolist() == [[1, 0]]


def test_beams_are_numbered_over_the_batch() -> None:
    beams = [[0, 2, 1, 1], [2, 0, 0, 1]]
    for running in (np.zeros((2, 3, 7), np.int64), np.zeros((2, 3), np.int64)):
        (found,) = run(beam_search.numbered_in_batch, beams, running)
        assert found.tolist() == [[0, 2, 1, 1], [5, 3, 3, 4]]


@pytest.mark.parametrize(("asked", "width"), [(0, 0), (1, 1), (5, 1), (-1, 0)])
def test_values_are_kept_on_request(asked: int, width: int) -> None:
    for values in (np.ones((2, 3), np.int64), np.ones((2, 3), np.float32)):
        (found,) = run(beam_search.on_request, values, [asked])
        assert found.dtype == values.dtype
        assert found.shape == (2, 3, width)
        assert (found == 1).all()


def test_last_tokens() -> None:
    (found,) = run(beam_search.last_tokens, [[[1, 2, 3], [4, 5, 6]]])
    assert found.tolist() == [[3, 6]]


def test_current_length_counts_the_new_token() -> None:
    for length in (0, 5):
        before, after = run(beam_search.current_length, np.zeros((2, 3, length), np.int64))
        assert (before.tolist(), after.tolist()) == ([length], [length + 1])


@pytest.mark.parametrize(("eos", "kept"), [([], 6), ([2], 6), ([2, 5], 9), ([2, 5, 6], 12)])
def test_as_many_continuations_are_kept_as_in_hf(eos: list[int], kept: int) -> None:
    assert run(beam_search.beams_to_keep, [3], np.array(eos, np.int64))[0].tolist() == [kept]
