"""Candidates for a draw."""

from __future__ import annotations

import numpy as np


def tokens(batch: int, beams: int, count: int) -> np.ndarray:
    """The ids 0 to count - 1 in each list, ``[batch, beams, count]``."""
    return np.broadcast_to(np.arange(count), (batch, beams, count)).copy()
