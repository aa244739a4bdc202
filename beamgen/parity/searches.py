"""The two searches that a judge compares, and how each backend's are read and scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np

from beamgen.parity.candidates import Candidates
from beamgen.parity.margins import Margins
from beamgen.parity.reference import Reference
from beamgen.parity.report import ParityCase
from beamgen.runtime.trace import RowStep, SearchTrace, Tokens
from beamgen.settings.result import DEAD

#: A continuation, and the beam or independent sequence that it stands on.
Choice = tuple[Tokens, int]


class Searches(ABC):
    """The yardstick's search and the file's, step by step, with the rules of their backend.

    Attributes:
        margins: how near scores have to be.
    """

    def __init__(self, reference: Reference, margins: Margins) -> None:
        """HF re-scores what one search kept and the other dropped."""
        self._reference = reference
        self.margins = margins

    @abstractmethod
    def traces(self, case: ParityCase) -> tuple[SearchTrace, SearchTrace]:
        """What the yardstick decided at each step, and what the file did."""

    @property
    @abstractmethod
    def candidates(self) -> Candidates:
        """What the yardstick of the last ``traces`` chose among."""

    @abstractmethod
    def divisor(self, tokens: Tokens, case: ParityCase) -> float:
        """What a hypothesis' summed log-probability is divided by."""

    @abstractmethod
    def best_and_worst(self, case: ParityCase, step: int, held: RowStep) -> tuple[float, float]:
        """What the stop test compares: the best that may come, and the worst hypothesis held."""

    @abstractmethod
    def drawn_alike(self, case: ParityCase, row: int, ours: Choice, theirs: Choice) -> bool:
        """Whether one choice, greedy or drawn, could have gone either way."""

    def borders(self, case: ParityCase, row: int, tokens: Tokens) -> list[tuple[float, float]]:
        """Pairs of scores on which a choice depends, see ``Candidates.border``."""
        found = self.candidates.border(row, tokens, case.config.num_beams)
        return [] if found is None else [found]

    def score(
        self, case: ParityCase, row: int, tokens: Tokens, *, rounding: int | None = None
    ) -> float:
        """HF's summed log-probability under the case's settings; see ``Reference.score``."""
        input_ids, attention_mask = case.batch()
        source = case.source()
        return self._reference.score(
            input_ids[row],
            attention_mask[row],
            tokens,
            case.config,
            source=None if source is None else source.row(row),
            rounding=rounding,
        )

    def score_in_search(self, case: ParityCase, row: int, tokens: Tokens) -> float:
        """HF's summed log-probability as its search had it, where that may be another number.

        Scales that are shared with neighbours make it so.
        """
        found = self.candidates.score(row, tokens) if self.margins.noise else None
        return self.score(case, row, tokens) if found is None else found

    def penalised(self, score: float, tokens: Tokens, case: ParityCase) -> float:
        """A summed log-probability as the score of a hypothesis."""
        with np.errstate(over="ignore"):
            return float(score / np.float64(self.divisor(tokens, case)))

    def live(self, trace: SearchTrace, case: ParityCase) -> SearchTrace:
        """A trace without hypotheses that a dead beam left, which carry the -1e9 of its mark."""

        def alive(tokens: Tokens, score: float) -> bool:
            return score * self.divisor(tokens, case) > DEAD

        return [
            [
                replace(step, finished={t: s for t, s in step.finished.items() if alive(t, s)})
                for step in row
            ]
            for row in trace
        ]


def powered(length: int, penalty: float) -> float:
    """A length by which scores are divided."""
    return float(np.float64(length) ** penalty)
