from __future__ import annotations

import numpy as np
from onnx_functions import run

from beamgen.search import tree_cache

MASKED = np.finfo(np.float32).min
NO_WINDOW = [2**62]


def test_prompt_inputs_count_positions_from_the_first_real_token() -> None:
    mask = [[0, 0, 1, 1], [1, 1, 1, 1]]
    positions, bias, lengths = run(tree_cache.prompt_inputs, mask, mask, NO_WINDOW)
    assert positions.tolist() == [[1, 1, 0, 1], [0, 1, 2, 3]]
    assert lengths.tolist() == [[2], [4]]
    seen = bias[:, 0] == 0
    assert seen[0].tolist() == [
        [False, False, False, False],
        [False, False, False, False],
        [False, False, True, False],
        [False, False, True, True],
    ]
    assert np.array_equal(seen[1], np.tril(np.ones((4, 4), bool)))
    assert (bias[bias != 0] == MASKED).all()


def test_a_window_hides_what_lies_further_back() -> None:
    mask = [[1, 1, 1, 1]]
    _, bias, _ = run(tree_cache.prompt_inputs, mask, mask, [2])
    assert (bias[0, 0] == 0).astype(int).tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 1, 1],
    ]


def test_step_inputs_show_each_beam_its_own_ancestors() -> None:
    running = [[[7, 8], [7, 9]]]  # second step: two beams of two tokens
    visible = np.array([[[1, 0, 1, 0], [1, 0, 0, 1]]], bool)
    birth = [[0, 0, 1, 1]]
    ids, positions, bias = run(
        tree_cache.step_inputs, running, visible, birth, [[0, 1, 1]], [[2]], NO_WINDOW
    )
    assert ids.tolist() == [[8, 9]]
    assert positions.tolist() == [[3, 3]]  # two prompt tokens, one generated before
    assert (bias[0, 0] == 0).astype(int).tolist() == [[0, 1, 1, 1, 0, 1, 0], [0, 1, 1, 1, 0, 0, 1]]


def test_step_inputs_within_a_window_count_slots_over_prompt_and_entries() -> None:
    running = [[[7, 8, 9]]]
    visible = np.ones((1, 1, 3), bool)
    _, _, bias = run(tree_cache.step_inputs, running, visible, [[0, 1, 2]], [[1, 1, 1]], [[3]], [4])
    # The step stands at slot 5; within 4 slots lie 2, 3, 4 and itself.
    assert (bias[0, 0, 0] == 0).astype(int).tolist() == [0, 0, 1, 1, 1, 1]


def test_first_entries_see_themselves() -> None:
    visible, birth = run(tree_cache.first_entries, [[4, 4, 4]])
    assert np.array_equal(visible[0], np.eye(3, dtype=bool))
    assert birth.tolist() == [[0, 0, 0]]


def test_entries_that_no_beam_sees_are_dropped() -> None:
    # Row 0: both next beams come from beam 1, so entries 0 and 2 die.
    # Row 1: both go on, so all four live; row 0 keeps two dead ones to fill up.
    visible = np.array([[[1, 0, 1, 0], [0, 1, 0, 1]], [[1, 0, 1, 0], [0, 1, 0, 1]]], bool)
    birth = [[0, 0, 1, 1], [0, 0, 1, 1]]
    index, next_visible, next_birth = run(tree_cache.live_entries, visible, birth, [[1, 1], [0, 1]])
    assert index.shape == (2, 4)
    assert set(index[0, :2].tolist()) == {1, 3}
    assert next_visible[0, :, :2].all()
    assert not next_visible[0, :, 2:4].any()
    assert np.array_equal(next_visible[0, :, 4:], np.eye(2, dtype=bool))
    assert next_birth[:, 4:].tolist() == [[2, 2], [2, 2]]
    # alone, row 0 shrinks
    index, next_visible, _ = run(tree_cache.live_entries, visible[:1], birth[:1], [[1, 1]])
    assert index.shape == (1, 2)
    assert next_visible.shape == (1, 2, 4)


def test_visibility_follows_an_entry_through_compaction() -> None:
    """A random walk: the tokens seen by each beam are those it is made of."""
    rng = np.random.default_rng(0)
    beams, vocab = 4, 1000
    tokens = [[] for _ in range(beams)]
    visible, birth = run(tree_cache.first_entries, [[0] * beams])
    cache = np.zeros((1, 1, 0, 1), np.float32)
    for _ in range(12):
        new = rng.integers(vocab, size=beams)
        tokens = [[*tokens[k], int(new[k])] for k in range(beams)]
        cache = np.concatenate([cache, new.reshape(1, 1, beams, 1).astype(np.float32)], axis=2)
        for k in range(beams):
            assert sorted(cache[0, 0, visible[0, k], 0].tolist()) == sorted(tokens[k])
        parents = rng.integers(beams, size=(1, beams))
        index, visible, birth = run(tree_cache.live_entries, visible, birth, parents)
        (cache,) = run(tree_cache.gather_entries, cache, index)
        tokens = [list(tokens[k]) for k in parents[0]]
    assert cache.shape[2] < 12 * beams


def test_gather_entries_by_hand() -> None:
    cache = np.arange(12, dtype=np.float32).reshape(1, 2, 3, 2)
    (found,) = run(tree_cache.gather_entries, cache, [[2, 0]])
    assert found.tolist() == [[[[4, 5], [0, 1]], [[10, 11], [6, 7]]]]
