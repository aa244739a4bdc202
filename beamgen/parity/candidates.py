"""What a reference search gave each continuation it could have chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from beamgen.runtime.trace import Tokens


class Candidates:
    """The scores of all continuations of all running beams, step by step."""

    def __init__(self, prompt_len: int) -> None:
        """Begin with no steps, of a search from prompts of that length, padding included."""
        self._prompt_len = prompt_len
        self._steps: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] = []

    def add(self, sequences: npt.NDArray[Any], scores: npt.NDArray[Any]) -> None:
        """Add a step: beams ``[B, K, T]``, summed log-probabilities ``[B, K, V]``."""
        self._steps.append((sequences[:, :, self._prompt_len :], scores))

    def border(
        self, row: int, tokens: Tokens, rank: int, noise: npt.NDArray[Any] | None = None
    ) -> tuple[float, float] | None:
        """What decides whether a continuation is among the best ``rank`` of its step.

        Its score; and that of the first one that is not among them, where it is itself,
        or else of the last one that is. ``noise [K, V]`` is added to all. None where
        nothing is known of its step.
        """
        place = self._place(row, tokens)
        if place is None:
            return None
        beam, scores = place
        perturbed = scores if noise is None else scores + noise
        score = perturbed[beam, tokens[-1]]
        ordered = np.sort(perturbed, axis=None)[::-1]
        inside = score >= ordered[rank - 1]
        return float(score), float(ordered[rank] if inside else ordered[rank - 1])

    def score(self, row: int, tokens: Tokens) -> float | None:
        """The score of a continuation; None where no beam stood before its last token."""
        place = self._place(row, tokens)
        return None if place is None else float(place[1][place[0], tokens[-1]])

    def _place(self, row: int, tokens: Tokens) -> tuple[int, npt.NDArray[Any]] | None:
        """The beam it continues, and the scores ``[K, V]`` of its step."""
        if not 0 < len(tokens) <= len(self._steps):
            return None
        beams, scores = self._steps[len(tokens) - 1]
        standing = (beams[row, :, : len(tokens) - 1] == np.array(tokens[:-1])).all(axis=-1)
        return (int(standing.argmax()), scores[row]) if standing.any() else None
