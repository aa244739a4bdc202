"""What a reference search gave each continuation it could have chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from beamgen.search.trace import Tokens


class Candidates:
    """The scores of all continuations of all running beams, step by step."""

    def __init__(self, prompt_len: int) -> None:
        """Of a search from prompts of that length, padding included."""
        self._prompt_len = prompt_len
        self._steps: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] = []

    def add(self, sequences: npt.NDArray[Any], scores: npt.NDArray[Any]) -> None:
        """A step: beams ``[B, K, T]``, summed log-probabilities ``[B, K, V]``."""
        self._steps.append((sequences[:, :, self._prompt_len :], scores))

    def score(self, row: int, tokens: Tokens) -> float | None:
        """Of a continuation; None where no beam stood before its last token."""
        if not 0 < len(tokens) <= len(self._steps):
            return None
        beams, scores = self._steps[len(tokens) - 1]
        standing = (beams[row, :, : len(tokens) - 1] == np.array(tokens[:-1])).all(axis=-1)
        if not standing.any():
            return None
        return float(scores[row, standing.argmax(), tokens[-1]])
