"""Positions of cache entries, in text and in slots, by hand."""

from __future__ import annotations

import numpy as np
from support.onnx_functions import run

from beamgen.search.functions import entry_positions

#: Two rows of a prompt of four, the second padded by two, and two generated entries a row.
SLOT = np.array([[0, 1, 2, 3, 4, 4], [0, 1, 2, 3, 4, 4]])
PROMPT = np.array([[7, 8, 9, 5], [0, 0, 9, 5]])
MASK = np.array([[1, 1, 1, 1], [0, 0, 1, 1]])


def _bias(attended: int, new: int) -> np.ndarray:
    return np.zeros((2, 1, new, attended), np.float32)


def test_positions_in_the_text_leave_padding_out() -> None:
    lengths = np.array([[4], [2]])
    (found,) = run(entry_positions.text_positions, SLOT, _bias(6, 2), PROMPT, lengths)
    assert found.tolist() == [[0, 1, 2, 3, 4, 4], [-2, -1, 0, 1, 2, 2]]
    (piece,) = run(entry_positions.text_positions, SLOT, _bias(3, 3), PROMPT, lengths)
    assert piece.tolist() == [[0, 1, 2], [-2, -1, 0]]


def test_positions_in_slots_count_it() -> None:
    new = np.array([[5, 6], [5, 6]])
    own, keys = run(entry_positions.slot_positions, SLOT, _bias(6, 2), new)
    assert own.tolist() == [[4, 4], [4, 4]]
    assert keys.tolist() == SLOT.tolist()


def test_positions_behind_a_mask_wherever_its_padding_is() -> None:
    (found,) = run(entry_positions.masked_positions, np.array([[1, 1, 0, 1], [0, 0, 1, 1]]))
    assert found.tolist() == [[0, 1, 1, 2], [-1, -1, 0, 1]]


def test_copies_of_a_row_have_its_positions() -> None:
    mask, rows = np.repeat(MASK, 2, axis=0).astype(np.int32), np.array([0, 2])
    (found,) = run(entry_positions.copied_text_positions, mask, rows)
    assert found.tolist() == [[0, 1, 2, 3], [-1, -1, 0, 1]]
    own, keys = run(entry_positions.copied_slot_positions, mask, rows, np.array([[5], [6]]))
    assert own.tolist() == [[3], [3]]
    assert keys.tolist() == [[0, 1, 2, 3]] * 2
