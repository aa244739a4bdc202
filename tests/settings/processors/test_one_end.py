"""Of several EOS ids one is left, where beams stay in a constraint; by hand."""

from __future__ import annotations

import numpy as np
import pytest
from support.onnx_functions import run
from support.scores import INF, compiled, odd_scores, random_scores

STATES = np.array([[0, 0, 1]], np.int32)
NOTHING = STATES[:0]


def one_end(
    scores: np.ndarray,
    eos: list[int],
    states: np.ndarray = STATES,
    one_beam: bool = False,
    node: int = 0,
) -> np.ndarray:
    nodes = np.full(scores.shape[:2], node)
    ids = np.array(eos, np.int64)
    (found,) = run(compiled.one_end, scores, nodes, states, ids, np.array(one_beam))
    return found


def test_the_likeliest_end_is_left() -> None:
    scores = np.array([[[-1.0, -2.0, -3.0, -4.0], [-4.0, -INF, -2.0, -1.0]]], np.float32)
    found = one_end(scores, [2, 0, 1])
    assert found.tolist() == [[[-1.0, -INF, -INF, -4.0], [-INF, -INF, -2.0, -1.0]]]


def test_of_equal_ends_the_first_that_is_named() -> None:
    scores = np.array([[[-1.0, -1.0, -5.0]]], np.float32)
    assert one_end(scores, [1, 0]).tolist() == [[[-INF, -1.0, -5.0]]]
    assert one_end(scores, [0, 1]).tolist() == [[[-1.0, -INF, -5.0]]]


def test_an_id_named_twice_is_one() -> None:
    scores = np.array([[[-1.0, -2.0, -3.0]]], np.float32)
    assert one_end(scores, [0, 0]).tolist() == scores.tolist()
    assert one_end(scores, [1, 0, 1]).tolist() == [[[-1.0, -INF, -3.0]]]


def test_where_no_entry_ends_nothing_changes() -> None:
    scores = random_scores()
    scores[:, :, [4, 7]] = -INF
    assert np.array_equal(one_end(scores, [4, 7]), scores)


@pytest.mark.parametrize(
    ("eos", "states", "one_beam"),
    [([4, 7], NOTHING, False), ([4], STATES, False), ([], STATES, False), ([4, 7], STATES, True)],
)
def test_elsewhere_no_bit_changes(eos: list[int], states: np.ndarray, one_beam: bool) -> None:
    scores = odd_scores()
    assert one_end(scores, eos, states, one_beam).tobytes() == scores.tobytes()


def test_a_row_that_no_constraint_binds_keeps_all_ends() -> None:
    scores = random_scores()
    assert np.array_equal(one_end(scores, [4, 7], node=-2), scores)
