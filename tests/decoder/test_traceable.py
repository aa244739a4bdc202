"""Functions of torch whose trace holds for every input."""

from __future__ import annotations

import pytest
import torch

from beamgen.decoder.traceable import traceable


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_repeat_interleave_is_torchs(axis: int) -> None:
    x = torch.arange(24.0).reshape(2, 3, 4)
    expected = torch.repeat_interleave(x, 3, dim=axis)
    uneven = torch.repeat_interleave(x, torch.tensor([1, 2]), dim=0)
    with traceable():
        assert torch.equal(x.repeat_interleave(3, axis), expected)
        assert torch.equal(torch.repeat_interleave(x, 3, dim=axis), expected)
        assert torch.equal(torch.repeat_interleave(x, torch.tensor([1, 2]), dim=0), uneven)
        assert torch.equal(x.repeat_interleave(2), torch.repeat_interleave(x, 2))


def test_every_expert_is_found_and_other_comparisons_are_torchs() -> None:
    counts, scores = torch.tensor([0, 2, 0]), torch.tensor([-1.0, 2.0])
    with traceable():
        assert torch.greater(counts, 0).tolist() == [True] * 3
        assert torch.greater(counts, 1).tolist() == [False, True, False]
        assert torch.greater(scores, 0).tolist() == [False, True]
    assert torch.greater(counts, 0).tolist() == [False, True, False]
