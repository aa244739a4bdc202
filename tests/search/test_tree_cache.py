from __future__ import annotations

import numpy as np
from support.onnx_functions import run

from beamgen.search.functions import tree_cache

MASKED = np.finfo(np.float32).min
NO_WINDOW = [2**62]


def test_all_beams_see_the_prompt_without_its_padding() -> None:
    mask = [[0, 0, 1, 1], [1, 1, 1, 1]]
    visible, slot, lengths = run(tree_cache.prompt_entries, mask, mask, [3])
    assert visible.shape == (2, 3, 4)
    assert (visible == np.array(mask, bool)[:, None]).all()
    assert slot.tolist() == [[0, 1, 2, 3]] * 2
    assert lengths.tolist() == [[2], [4]]


def test_prompt_inputs_count_positions_from_the_first_real_token() -> None:
    mask = [[0, 0, 1, 1], [1, 1, 1, 1]]
    ids, positions, bias, last_n = run(tree_cache.prompt_inputs, mask, mask, NO_WINDOW)
    assert ids.tolist() == mask
    assert positions.tolist() == [[1, 1, 0, 1], [0, 1, 2, 3]]
    assert last_n == 1
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
    _, _, bias, _ = run(tree_cache.prompt_inputs, mask, mask, [2])
    assert (bias[0, 0] == 0).astype(int).tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 1, 1],
    ]


def test_step_inputs_show_each_beam_its_own_ancestors() -> None:
    running = [[[7, 8], [7, 9]]]  # second step: two beams of two tokens
    # of a prompt of three, one of them padding, and four entries generated
    visible = np.array([[[0, 1, 1, 1, 0, 1, 0], [0, 1, 1, 1, 0, 0, 1]]], bool)
    slot = [[0, 1, 2, 3, 3, 4, 4]]
    ids, positions, bias, last_n = run(
        tree_cache.step_inputs, running, visible, slot, [[2]], NO_WINDOW
    )
    assert ids.tolist() == [[8, 9]]
    assert positions.tolist() == [[3, 3]]  # two prompt tokens, one generated before
    assert np.array_equal(bias[0, 0] == 0, visible[0])
    assert last_n == 2


def test_step_inputs_within_a_window_count_slots_over_prompt_and_entries() -> None:
    visible = np.ones((1, 1, 6), bool)
    slot = [[0, 1, 2, 3, 4, 5]]
    _, _, bias, _ = run(tree_cache.step_inputs, [[[7, 8, 9]]], visible, slot, [[3]], [4])
    # The step stands at slot 5; within 4 slots lie 2, 3, 4 and itself.
    assert (bias[0, 0, 0] == 0).astype(int).tolist() == [0, 0, 1, 1, 1, 1]


def test_next_entries_see_their_ancestors_and_themselves() -> None:
    visible = np.array([[[1, 1, 0], [1, 0, 1]]], bool)
    next_visible, slot = run(tree_cache.next_entries, visible, [[0, 1, 1]], [[1, 1]])
    assert next_visible[0].astype(int).tolist() == [[1, 0, 1, 1, 0], [1, 0, 1, 0, 1]]
    assert slot.tolist() == [[0, 1, 1, 2, 2]]


def test_entries_that_no_beam_sees_are_dropped() -> None:
    # Row 0: both beams stand on entries 1 and 3, so 0 and 2 are dead.
    # Row 1: all four live; row 0 keeps two dead ones to fill up.
    own = np.eye(2, dtype=bool)
    row0 = np.hstack([np.array([[0, 1, 0, 1]] * 2, bool), own])
    row1 = np.hstack([np.array([[1, 0, 1, 0], [0, 1, 0, 1]], bool), own])
    slot = [[0, 0, 1, 1, 2, 2]] * 2
    index, visible, slots = run(tree_cache.live_entries, np.stack([row0, row1]), slot, NO_WINDOW)
    assert index.shape == (2, 4)
    assert set(index[0, :2].tolist()) == {1, 3}
    assert visible[0, :, :2].all()
    assert not visible[0, :, 2:4].any()
    assert np.array_equal(visible[0, :, 4:], own)
    assert slots[1].tolist() == [0, 0, 1, 1, 2, 2]
    # alone, row 0 shrinks
    index, visible, slots = run(tree_cache.live_entries, row0[None], slot[:1], NO_WINDOW)
    assert index.tolist() == [[1, 3]]
    assert visible.shape == (1, 2, 4)
    assert slots.tolist() == [[0, 1, 2, 2]]


def test_entries_behind_the_window_are_dropped() -> None:
    visible = np.ones((1, 1, 5), bool)
    index, kept, slots = run(tree_cache.live_entries, visible, [[0, 1, 2, 3, 4]], [3])
    assert index.tolist() == [[2, 3]]
    assert kept.all()
    assert slots.tolist() == [[2, 3, 4]]


def test_kept_entries_are_taken_from_both_parts_of_a_cache() -> None:
    cache = np.arange(2 * 2 * 4 * 3, dtype=np.float32).reshape(2, 2, 4, 3)
    index = np.array([[1, 3], [0, 2]])
    (full,) = run(tree_cache.entries_index, cache, index)
    assert full.shape == (2, 2, 2, 1)
    (kept,) = run(tree_cache.kept_entries, cache[:, :, :3], cache[:, :, 3:], full)
    assert np.array_equal(kept[0], cache[0][:, [1, 3]])
    assert np.array_equal(kept[1], cache[1][:, [0, 2]])


def test_visibility_follows_an_entry_through_compaction() -> None:
    """A random walk: the tokens seen by each beam are those it is made of."""
    rng = np.random.default_rng(0)
    beams, vocab = 4, 1000
    prompt = np.array([[0, 7, 8]])
    visible, slot, _ = run(tree_cache.prompt_entries, prompt, np.minimum(prompt, 1), [beams])
    cache = prompt.reshape(1, 1, 3, 1).astype(np.float32)
    tokens = [[7, 8] for _ in range(beams)]
    for step in range(12):
        parents = rng.integers(beams, size=(1, beams))
        visible, slot = run(tree_cache.next_entries, visible, slot, parents)
        tokens = [list(tokens[k]) for k in parents[0]]
        if step % 3 == 0:
            index, visible, slot = run(tree_cache.live_entries, visible, slot, NO_WINDOW)
            (full,) = run(tree_cache.entries_index, cache, index)
            (cache,) = run(tree_cache.kept_entries, cache, cache[:, :, :0], full)
        new = rng.integers(vocab, size=beams)
        tokens = [[*tokens[k], int(new[k])] for k in range(beams)]
        cache = np.concatenate([cache, new.reshape(1, 1, beams, 1).astype(np.float32)], axis=2)
        for k in range(beams):
            assert sorted(cache[0, 0, visible[0, k], 0].tolist()) == sorted(tokens[k])
    assert cache.shape[2] < 12 * beams
