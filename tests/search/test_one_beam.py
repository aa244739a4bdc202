"""Greedy search and sampling: each function by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.onnx_functions import run

from beamgen.search.functions import one_beam

INF = float("inf")
NOTHING = np.array([], np.int64)


def test_take_best_is_argmax_and_its_log_probability() -> None:
    scores = np.random.default_rng(0).normal(size=(4, 1, 30)).astype(np.float32)
    scores[1, 0, :20] = -INF
    score, tokens, chains, log_probs = run(one_beam.take_best, scores)
    assert tokens.dtype == np.int64
    assert np.array_equal(tokens, torch.argmax(torch.tensor(scores), -1).numpy())
    expected = torch.log_softmax(torch.tensor(scores), -1).max(-1).values.numpy()
    np.testing.assert_allclose(log_probs, expected, rtol=1e-6)
    assert np.array_equal(score, log_probs)
    assert chains.tolist() == [[0]] * 4


def test_take_best_by_hand() -> None:
    _, tokens, _, log_probs = run(
        one_beam.take_best, np.log([[[0.2, 0.7, 0.1]], [[0.5, 0.1, 0.4]]])
    )
    assert tokens.tolist() == [[1], [0]]
    np.testing.assert_allclose(log_probs, np.log([[0.7], [0.5]]), rtol=1e-6)


def test_take_best_of_equals_is_the_first() -> None:
    # torch.argmax promises no order; on CPU it is the first as well
    _, tokens, _, _ = run(one_beam.take_best, np.array([[[1.0, 3.0, 3.0, 3.0]]], np.float32))
    assert tokens.tolist() == [[1]]


def test_every_chain_follows_itself() -> None:
    assert run(one_beam.own_places, [[7, 8, 9], [9, 9, 9]])[0].tolist() == [[0, 1, 2]] * 2


def update(**changed: Any) -> dict[str, Any]:
    """Two rows of three chains, one token later; in the second row the last chain has ended."""
    given = {
        "tokens": [[4, 5, 6], [7, 8, 9]],
        "log_probs": [[-0.5, -1.0, -2.0], [-0.25, -4.0, -8.0]],
        "scores": [[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]],
        "lengths": [[3, 3, 3], [3, 3, 2]],
        "is_finished": np.array([[False] * 3, [False, False, True]]),
        "cur_len": [4],
        "eos_token_id": [5],
        "max_new_tokens": [10],
        "fill_token_id": [0],
        "stopped": np.zeros((2, 3), bool),
    } | changed

    def inputs(*names: str) -> list[Any]:
        return [given[name] for name in names]

    tokens, log_probs, chains = run(
        one_beam.append_to_chains, *inputs("tokens", "log_probs", "is_finished", "fill_token_id")
    )
    scores, lengths, is_finished, go_on = run(
        one_beam.update_chains,
        tokens,
        log_probs,
        *inputs("scores", "lengths", "is_finished", "cur_len", "eos_token_id", "max_new_tokens"),
        given["stopped"],
    )
    return {
        "tokens": tokens,
        "log_probs": log_probs,
        "chains": chains,
        "scores": scores,
        "lengths": lengths,
        "is_finished": is_finished,
        "go_on": go_on,
    }


def test_chains_that_have_ended_are_filled() -> None:
    found = update()
    assert found["tokens"].tolist() == [[4, 5, 6], [7, 8, 0]]
    assert found["log_probs"].tolist() == [[-0.5, -1.0, -2.0], [-0.25, -4.0, 0.0]]
    assert found["scores"].tolist() == [[-1.5, -3.0, -5.0], [-4.25, -9.0, -6.0]]
    # counted over the batch
    assert found["chains"].tolist() == [[0, 1, 2], [3, 4, -1]]
    assert found["lengths"].tolist() == [[4, 4, 4], [4, 4, 2]]
    # the EOS itself is a token of its chain
    assert found["is_finished"].tolist() == [[False, True, False], [False, False, True]]
    assert found["go_on"].shape == ()
    assert found["go_on"]


def test_a_chain_ends_at_any_eos() -> None:
    found = update(eos_token_id=[4, 8])
    assert found["is_finished"].tolist() == [[True, False, False], [False, True, True]]
    found = update(eos_token_id=NOTHING)
    assert found["is_finished"].tolist() == [[False] * 3, [False, False, True]]


def test_a_fill_token_ends_no_chain_that_goes_on() -> None:
    # the pad token is often the EOS
    found = update(fill_token_id=[5], eos_token_id=[5])
    assert found["tokens"].tolist() == [[4, 5, 6], [7, 8, 5]]
    assert found["is_finished"].tolist() == [[False, True, False], [False, False, True]]
    assert found["log_probs"][1, 2] == 0


@pytest.mark.parametrize(
    ("longest", "finished", "go_on"),
    [
        ([5], [[False, True, False], [False, False, True]], True),
        ([4], [[True] * 3, [True] * 3], False),
        ([4, 5], [[True] * 3, [False, False, True]], True),
        ([5, 4], [[False, True, False], [True] * 3], True),
        ([3, 4], [[True] * 3, [True] * 3], False),
    ],
)
def test_chains_end_at_their_rows_length(
    longest: list[int], finished: list[list[bool]], go_on: bool
) -> None:
    found = update(max_new_tokens=longest)
    assert found["is_finished"].tolist() == finished
    assert bool(found["go_on"]) == go_on
    # the token at the limit still counts
    assert found["tokens"].tolist() == [[4, 5, 6], [7, 8, 0]]
    assert found["lengths"].tolist() == [[4, 4, 4], [4, 4, 2]]


@pytest.mark.parametrize("chain", [0, 2])
def test_one_open_chain_goes_on(chain: int) -> None:
    finished = np.ones((2, 3), bool)
    assert not update(is_finished=finished)["go_on"]
    finished[1, chain] = False
    assert update(is_finished=finished)["go_on"]
    assert not update(is_finished=finished, eos_token_id=[7, 9])["go_on"]


def test_a_token_that_cannot_come_scores_minus_infinity() -> None:
    log_probs = [[np.nan, -1.0, -INF], [-0.25, np.nan, np.nan]]
    found = update(log_probs=log_probs)
    assert found["log_probs"].tolist() == [[-INF, -1.0, -INF], [-0.25, -INF, 0.0]]
    assert found["scores"].tolist() == [[-INF, -3.0, -INF], [-4.25, -INF, -6.0]]
    assert found["tokens"].tolist() == [[4, 5, 6], [7, 8, 0]]
