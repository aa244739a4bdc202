"""What logits processors call, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from support.onnx_functions import run
from support.scores import (
    INF,
    right_aligned,
)

from beamgen.search.functions import processors


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
