"""How a search begins and what it gives back: each function by hand, and against HF's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.onnx_functions import run
from transformers import GenerationConfig
from transformers.generation import GenerationMixin

from beamgen.search.functions import beam_search

HF = GenerationMixin()
NOTHING = np.array([], np.int64)


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
    sequences, scores, found, tokens, lengths = run(
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
    assert tokens.tolist() == [[[1, 2], [3, 4]]]
    assert lengths.tolist() == [[2, 2]]
