from __future__ import annotations

import numpy as np
import pytest
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


def _prompt_inputs(mask, window, *, slot=None, piece=0, piece_len=4, ids=None):
    slot = slot or [list(range(len(row))) for row in mask]
    given = [np.array(value) for value in (ids or mask, mask, slot)]
    return run(tree_cache.prompt_inputs, *given, np.array(piece), [piece_len], window)


def test_prompt_inputs_count_positions_from_the_first_real_token() -> None:
    mask = [[0, 0, 1, 1], [1, 1, 1, 1]]
    ids, positions, bias, last_n, seq_len = _prompt_inputs(mask, NO_WINDOW)
    assert ids.tolist() == mask
    assert positions.tolist() == [[1, 1, 0, 1], [0, 1, 2, 3]]
    assert last_n == 1
    assert seq_len == 4
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
    _, _, bias, *_ = _prompt_inputs(mask, [2])
    assert (bias[0, 0] == 0).astype(int).tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 1, 1],
    ]


def test_a_piece_sees_the_pieces_before_it_and_counts_the_whole_prompt() -> None:
    ids = [[0, 0, 0, 5, 6, 7, 8], [11, 12, 13, 14, 15, 16, 17]]
    mask = [[0, 0, 0, 1, 1, 1, 1], [1] * 7]
    found, positions, bias, last_n, seq_len = _prompt_inputs(
        mask, NO_WINDOW, ids=ids, piece=1, piece_len=3
    )
    assert found.tolist() == [[5, 6, 7], [14, 15, 16]]
    assert positions.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (last_n, seq_len) == (1, 7)
    assert (bias[:, 0] == 0).astype(int).tolist() == [
        [[0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1]],
        [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]],
    ]
    # the last piece is of what is left
    found, positions, bias, *_ = _prompt_inputs(mask, NO_WINDOW, ids=ids, piece=2, piece_len=3)
    assert found.tolist() == [[8], [17]]
    assert positions.tolist() == [[3], [6]]
    assert (bias[:, 0, 0] == 0).astype(int).tolist() == [[0, 0, 0, 1, 1, 1, 1], [1] * 7]


def test_a_piece_of_padding_alone_sees_nothing() -> None:
    mask = [[0, 0, 0, 1], [1, 1, 1, 1]]
    _, positions, bias, _, seq_len = _prompt_inputs(mask, NO_WINDOW, piece_len=2)
    assert positions.tolist() == [[1, 1], [0, 1]]
    assert (bias[0] == MASKED).all()
    assert seq_len == 4


def test_a_piece_meets_a_cache_whose_first_entries_were_left_behind() -> None:
    mask, slot = [[1] * 6], [[2, 3, 4, 5]]
    ids, positions, bias, *_ = _prompt_inputs(mask, [3], slot=slot, piece=2, piece_len=2)
    assert ids.tolist() == [[1, 1]]
    assert positions.tolist() == [[4, 5]]
    assert (bias[0, 0] == 0).astype(int).tolist() == [[1, 1, 1, 0], [0, 1, 1, 1]]


@pytest.mark.parametrize(
    ("prompt_len", "longest", "pieces", "piece_len"),
    [
        (1, 4, 1, 1),
        (4, 4, 1, 4),
        (5, 4, 2, 3),
        (8, 4, 2, 4),
        (9, 4, 3, 3),
        (10, 1, 10, 1),
        (31, 5, 7, 5),  # the last piece has one token
        (16384, 512, 32, 512),
    ],
)
def test_pieces_are_as_few_and_as_equal_as_can_be(
    prompt_len: int, longest: int, pieces: int, piece_len: int
) -> None:
    found = run(tree_cache.prompt_pieces, np.ones((2, prompt_len), int), np.array(longest))
    assert [found[0].tolist(), found[1].tolist()] == [pieces, [piece_len]]


def test_only_the_last_piece_and_what_follows_decide() -> None:
    plans = [
        [value.item() for value in run(tree_cache.chunk_plan, *map(np.array, (chunk, 3, 8)))]
        for chunk in range(5)
    ]
    assert plans == [
        [True, False, 1],
        [True, False, 1],
        [True, True, 1],
        [False, True, 8],
        [False, True, 8],
    ]


def test_a_window_leaves_the_first_entries_of_a_long_prompt_behind() -> None:
    visible = np.array([[[0, 1, 1, 1, 1, 1, 1, 1]]], bool)
    slot = [[0, 1, 2, 3, 4, 5, 6, 7]]
    piece, piece_len = np.array(1), [2]  # the cache holds 0 to 3, and 4 comes next
    left, seen, slots = run(tree_cache.entries_left_behind, visible, slot, piece, piece_len, [3])
    assert left.tolist() == [2]
    assert slots.tolist() == [[2, 3, 4, 5, 6, 7]]
    assert seen.shape == (1, 1, 6)
    # two are gone already, and a window of one leaves all
    left, seen, slots = run(
        tree_cache.entries_left_behind, visible[:, :, 2:], [slot[0][2:]], piece, piece_len, [1]
    )
    assert left.tolist() == [2]
    assert slots.tolist() == [[4, 5, 6, 7]]
    left, seen, _ = run(tree_cache.entries_left_behind, visible, slot, piece, piece_len, NO_WINDOW)
    assert left.tolist() == [0]
    assert np.array_equal(seen, visible)
    cache = np.arange(24, dtype=np.float32).reshape(1, 2, 4, 3)
    (kept,) = run(tree_cache.later_entries, cache[:, :, :1], cache[:, :, 1:], [2])
    assert np.array_equal(kept, cache[:, :, 2:])


def test_step_inputs_show_each_beam_its_own_ancestors() -> None:
    running = [[[7, 8], [7, 9]]]  # second step: two beams of two tokens
    # of a prompt of three, one of them padding, and four entries generated
    visible = np.array([[[0, 1, 1, 1, 0, 1, 0], [0, 1, 1, 1, 0, 0, 1]]], bool)
    slot = [[0, 1, 2, 3, 3, 4, 4]]
    ids, positions, bias, last_n, seq_len = run(
        tree_cache.step_inputs, running, visible, slot, [[2]], NO_WINDOW
    )
    assert ids.tolist() == [[8, 9]]
    assert positions.tolist() == [[3, 3]]  # two prompt tokens, one generated before
    assert np.array_equal(bias[0, 0] == 0, visible[0])
    assert last_n == 2
    assert seq_len == 4


def test_step_inputs_within_a_window_count_slots_over_prompt_and_entries() -> None:
    visible = np.ones((1, 1, 6), bool)
    slot = [[0, 1, 2, 3, 4, 5]]
    _, _, bias, *_ = run(tree_cache.step_inputs, [[[7, 8, 9]]], visible, slot, [[3]], [4])
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
