"""Each function of the search step: by hand, and against HF's own on random numbers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from support.onnx_functions import run
from transformers import GenerationConfig
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
        length, 0, False, kept, beams, vocab, batch,
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


def test_a_sequence_ends_at_any_eos_or_at_its_rows_length() -> None:
    tokens = [[7, 2, 5], [7, 8, 9]]
    (hits,) = run(beam_search.hits_stopping_criteria, tokens, [3], [2, 5], [4, 3])
    assert hits.tolist() == [[False, True, True], [True, True, True]]
    (hits,) = run(beam_search.hits_stopping_criteria, tokens, [3], np.array([], np.int64), [9])
    assert not hits.any()


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


@pytest.mark.parametrize("one_beam", [False, True])
def test_initial_state_counts_all_chains_but_the_first_beam_only(one_beam: bool) -> None:
    tokens, scores, per_token, finished, lengths, done, unsatisfied = run(
        beam_search.initial_state, [[5, 6], [7, 8]], [3], np.array(one_beam)
    )
    assert tokens.shape == per_token.shape == (2, 3, 0)
    assert (tokens.dtype, per_token.dtype) == (np.int64, np.float32)
    assert scores.tolist() == [[0.0] * 3 if one_beam else [0.0, -1e9, -1e9]] * 2
    assert finished.tolist() == [[-1e9] * 3] * 2
    assert lengths.tolist() == [[0] * 3] * 2
    assert done.tolist() == [[False] * 3] * 2
    assert unsatisfied.tolist() == [[True], [True]]


@pytest.mark.parametrize(
    ("beams", "eos", "pad", "fill"),
    [
        (5, [2, 3], 1, 1),
        (5, [2, 3], 0, 2),  # pad id 0 counts as unset in HF's beam search
        (1, [2, 3], 0, 0),  # and not in greedy search
        (5, [], 0, 0),
        (5, [], 4, 4),
        (1, [], 4, 4),
    ],
)
def test_one_beam_and_beam_search_fill_differently(
    beams: int, eos: list[int], pad: int, fill: int
) -> None:
    one_beam, _, _, penalty, found, _ = run(
        beam_search.search_mode, [beams], [0], [1], [1.5], np.array(eos, np.int64), [pad]
    )
    assert found.tolist() == [fill]
    assert bool(one_beam) == (beams == 1)
    # one beam knows no length penalty
    assert penalty.tolist() == [0.0 if beams == 1 else 1.5]


@pytest.mark.parametrize(
    ("beams", "sampling", "returned", "running"),
    [
        (1, 0, 1, 1),
        (1, 0, 3, 1),  # greedy search has one answer
        (1, 1, 1, 1),
        (1, 1, 7, 7),
        (1, 1, 0, 1),
        (4, 0, 3, 4),
        (4, 1, 3, 4),
    ],
)
def test_sampling_with_one_beam_runs_all_that_it_returns(
    beams: int, sampling: int, returned: int, running: int
) -> None:
    one_beam, samples, found, _, _, _ = run(
        beam_search.search_mode, [beams], [sampling], [returned], [1.0], [2], [0]
    )
    assert one_beam.shape == samples.shape == ()
    assert (bool(one_beam), bool(samples)) == (beams == 1, sampling == 1)
    assert found.tolist() == [running]


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("eos", [[], [2], [2, 5, 6]])
def test_warpers_keep_as_many_tokens_as_in_hf(beams: int, eos: list[int]) -> None:
    config = GenerationConfig(do_sample=True, num_beams=beams, top_k=0, top_p=1.0, min_p=0.1)
    config._eos_token_tensor = torch.tensor(eos) if eos else None
    (warper,) = HF._get_logits_processor(config, 1)
    *_, found = run(beam_search.search_mode, [beams], [1], [1], [1.0], np.array(eos, np.int64), [0])
    assert found.tolist() == [warper.min_tokens_to_keep]


def test_the_length_penalty_may_differ_by_row() -> None:
    for beams, expected in [(3, [1.5, 0.5]), (1, [0.0, 0.0])]:
        penalty = run(beam_search.search_mode, [beams], [0], [1], [1.5, 0.5], [2], [0])[3]
        assert penalty.tolist() == expected


def reasons(**changed: Any) -> list[list[int]]:
    """A hypothesis that ended at an EOS, one at the limit, an empty slot, a dead beam."""
    inputs = {
        "scores": [[-1.0, -2.0, -1e9, -2e9]],
        "lengths": [[2, 3, 0, 3]],
        "is_sent_finished": np.array([[True, True, False, True]]),
        "tokens": [[[7, 5, 0], [7, 8, 9], [0, 0, 0], [5, 5, 5]]],
        "length_penalty": [0.0],
        "eos_token_id": [5],
    } | changed
    return run(beam_search.finish_reasons, *inputs.values())[0].tolist()


def test_finish_reasons_by_hand() -> None:
    assert reasons() == [[1, 2, 0, 0]]
    assert reasons(eos_token_id=[4, 9]) == [[2, 1, 0, 0]]
    assert reasons(eos_token_id=NOTHING) == [[2, 2, 0, 0]]
    # what is found has to have been finished, and to have had a probability
    assert reasons(is_sent_finished=np.array([[True, False, False, True]])) == [[1, 0, 0, 0]]
    assert reasons(scores=[[-np.inf, -2.0, -1e9, -2e9]]) == [[0, 2, 0, 0]]


def test_the_last_token_within_the_length_is_the_reason() -> None:
    # the fill token is an EOS too, and another one stands before the end
    tokens = [[[7, 8, 5], [5, 8, 9], [5, 5, 5], [5, 5, 5]]]
    assert reasons(tokens=tokens) == [[2, 2, 0, 0]]
    assert reasons(tokens=tokens, lengths=[[3, 1, 0, 3]]) == [[1, 1, 0, 0]]


@pytest.mark.parametrize("penalty", [-2.0, 0.5, 3.0])
def test_a_dead_beam_is_none_under_any_length_penalty(penalty: float) -> None:
    summed, lengths = np.array([-40.0, -2000.0, -1e9, -1e9 - 64]), np.array([30, 30, 30, 30])
    assert reasons(
        scores=[summed / lengths**penalty],
        lengths=[lengths],
        is_sent_finished=np.ones((1, 4), bool),
        tokens=np.where(np.arange(30) == 29, [[[5], [7], [5], [7]]], 7),
        length_penalty=[penalty],
    ) == [[1, 2, 0, 0]]


@pytest.mark.parametrize(
    ("returned", "lengths", "shape"),
    [
        (2, [[2, 2, 4]], (2, 2)),  # the third is longer, and not returned
        (3, [[2, 2, 4]], (3, 4)),
        (1, [[3, 1, 1]], (1, 3)),
        (9, [[1, 1, 1]], (3, 1)),
        (2, [[0, 0, 0]], (2, 0)),
    ],
)
def test_best_hypotheses_are_cropped_to_the_longest_of_them(
    returned: int, lengths: list[list[int]], shape: tuple[int, int]
) -> None:
    for dtype in (np.int64, np.float32):
        values = np.arange(12, dtype=dtype).reshape(1, 3, 4)
        (found,) = run(beam_search.best_hypotheses, values, lengths, [returned])
        assert found.dtype == dtype
        assert np.array_equal(found, values[:, : shape[0], : shape[1]])


def test_the_longest_hypothesis_of_the_batch_counts() -> None:
    values = np.arange(12).reshape(2, 2, 3)
    (found,) = run(beam_search.best_hypotheses, values, [[1, 3], [2, 1]], [1])
    assert found.tolist() == [[[0, 1]], [[6, 7]]]


def test_best_hypotheses_of_what_was_not_kept_are_empty() -> None:
    (found,) = run(beam_search.best_hypotheses, np.zeros((1, 3, 0), np.float32), [[2, 2, 4]], [2])
    assert found.shape == (1, 2, 0)


def test_finalize_crops_to_the_longest_returned() -> None:
    sequences, scores, found = run(
        beam_search.finalize,
        [[5, 6]],
        [[[1, 2, 0, 0], [3, 4, 0, 0], [4, 4, 4, 2]]],
        [[-0.1, -0.2, -0.3]],
        [[2, 2, 4]],
        np.array([[True, True, True]]),
        [2],
        [1.0],
        [2],
    )
    assert sequences.tolist() == [[[5, 6, 1, 2], [5, 6, 3, 4]]]
    np.testing.assert_allclose(scores, [[-0.1, -0.2]])
    assert found.tolist() == [[1, 2]]
