"""Where the two searches of one row part, and whether that is a near-tie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from beamgen.parity.kept import Kept, Scale, compare
from beamgen.parity.report import ParityCase, Parting, Verdict
from beamgen.parity.searches import Searches
from beamgen.runtime.trace import RowStep, Tokens

#: How often logits are moved at random, to see whether a token falls to the other side of a border.
_ROUNDINGS = 8


@dataclass(frozen=True)
class RowJudge:
    """Goes through the steps of one row until the searches part.

    Attributes:
        searches: the two.
        case: what is searched.
        row: of its batch.
    """

    searches: Searches
    case: ParityCase
    row: int

    def __call__(self, ours: list[RowStep], theirs: list[RowStep]) -> Parting | None:
        """Compare the file's steps with the yardstick's."""
        before = our_before = RowStep({(): 0.0}, {}, True)
        for step, (our_step, their_step) in enumerate(zip(ours, theirs, strict=False), start=1):
            parting = self._after(step, our_step, their_step, before)
            if parting is not None and self._drawn_in_another_order(our_before, before):
                reason = "beams of nearly one score stood in another order, and drew accordingly"
                parting = replace(parting, verdict=Verdict.NEAR_TIE, reason=reason)
            before, our_before = their_step, our_step
            if parting is None:
                continue
            if parting.verdict is Verdict.NEAR_TIE:
                # HF takes another way from here, so HF has to score what was found.
                return self._scores(ours[-1], parting)
            return parting
        if set(ours[-1].finished) != set(theirs[-1].finished):
            return Parting(
                Verdict.DIVERGED,
                self.row,
                min(len(ours), len(theirs)),
                f"the file stops after {len(ours)} tokens, HF after {len(theirs)}",
            )
        return None

    def _after(self, step: int, ours: RowStep, theirs: RowStep, before: RowStep) -> Parting | None:
        """The first thing that differs after one step, in the order it is decided."""
        beams = Kept("running beams", self.row, step, ours.running, theirs.running)
        hypotheses = Kept("hypotheses", self.row, step, ours.finished, theirs.finished)
        margins = self.searches.margins
        parting = compare(beams, self._of_beams(before), margins) or compare(
            hypotheses, self._of_hypotheses(before), margins
        )
        if parting is None and ours.unsatisfied != theirs.unsatisfied:
            return self._stop(step, theirs)
        return parting

    def _of_beams(self, before: RowStep) -> Scale:
        """The scale of running beams: summed log-probabilities, and chance only where it draws."""

        def either_way(kept: Tokens, dropped: Tokens) -> bool:
            return self.case.config.do_sample and self._either_way(before, kept, dropped)

        return Scale(self._score, either_way, lambda tokens: 1.0, self._rounded_otherwise)

    def _of_hypotheses(self, before: RowStep) -> Scale:
        """The scale of hypotheses: penalised scores, which the yardstick may know already."""

        def rescore(tokens: Tokens) -> float:
            known = before.finished.get(tokens) if self.searches.margins.noise else None
            return self._penalised(self._score(tokens), tokens) if known is None else known

        def either_way(kept: Tokens, dropped: Tokens) -> bool:
            return self._either_way(before, kept, dropped)

        def rounded_otherwise(tokens: Tokens) -> Iterator[float]:
            return (self._penalised(each, tokens) for each in self._rounded_otherwise(tokens))

        return Scale(rescore, either_way, self._divisor, rounded_otherwise)

    def _either_way(self, before: RowStep, kept: Tokens, dropped: Tokens) -> bool:
        """Whether a draw could have fallen otherwise, or noise moves one over a border."""
        return self._drawn_alike(before, kept, dropped) or self._at_border(kept, dropped)

    def _drawn_alike(self, before: RowStep, kept: Tokens, dropped: Tokens) -> bool:
        """Whether a draw could have fallen otherwise."""
        beams = list(before.running)
        if not self.case.config.do_sample or not kept or not dropped:
            return False
        if not {kept[:-1], dropped[:-1]} <= set(beams):
            return False
        one, other = ((tokens, beams.index(tokens[:-1])) for tokens in (kept, dropped))
        return self.searches.drawn_alike(self.case, self.row, one, other)

    def _at_border(self, kept: Tokens, dropped: Tokens) -> bool:
        """Whether one of them is chosen, or is not, by a difference that noise makes.

        An EOS counts among a step's ``num_beams`` best continuations only, and what is
        drawn are the best with random numbers added.
        """
        margins = self.searches.margins
        return bool(margins.noise) and any(
            margins.tied(*border, len(tokens))
            for tokens in (kept, dropped)
            for border in self.searches.borders(self.case, self.row, tokens)
        )

    def _stop(self, step: int, theirs: RowStep) -> Parting:
        """One side sees a reason to go on, with the same beams and hypotheses."""
        best, worst = self.searches.best_and_worst(self.case, step, theirs)
        divisor = min(self._divisor(tokens) for tokens in theirs.running or [(0,) * step])
        tie = self.searches.margins.tied(best, worst, step, divisor)
        return Parting(
            Verdict.NEAR_TIE if tie else Verdict.DIVERGED,
            self.row,
            step,
            "one goes on and the other stops: best running score against worst hypothesis",
            our_score=best,
            reference_score=worst,
            margin=abs(best - worst),
        )

    def _scores(self, last: RowStep, tie: Parting) -> Parting:
        """The near-tie, unless a hypothesis after it is not worth what the file says."""
        for tokens, score in last.finished.items():
            worth = self._penalised(self.searches.score(self.case, self.row, tokens), tokens)
            others = (self._penalised(each, tokens) for each in self._rounded_otherwise(tokens))
            weight, margins = (len(tokens), self._divisor(tokens)), self.searches.margins
            if not margins.same(score, worth, *weight) and not any(
                margins.same(score, other, *weight) for other in others
            ):
                return Parting(
                    Verdict.DIVERGED,
                    self.row,
                    len(tokens),
                    "a hypothesis found after a near-tie has another score",
                    list(tokens),
                    list(tokens),
                    score,
                    worth,
                    worth - score,
                )
        return tie

    def _drawn_in_another_order(self, ours: RowStep, theirs: RowStep) -> bool:
        """Whether the same beams stand in another order, for a difference that noise makes.

        Random numbers are a beam's by its place.
        """
        margins = self.searches.margins
        order = {tokens: place for place, tokens in enumerate(theirs.running)}
        sampled = self.case.config.do_sample
        if not sampled or not margins.noise or set(order) != set(ours.running):
            return False
        beams = list(ours.running)
        swapped = [
            (one, other)
            for place, one in enumerate(beams)
            for other in beams[place + 1 :]
            if order[one] > order[other]
        ]
        return bool(swapped) and all(
            margins.tied(theirs.running[one], theirs.running[other], len(one))
            for one, other in swapped
        )

    def _score(self, tokens: Tokens) -> float:
        return self.searches.score_in_search(self.case, self.row, tokens)

    def _rounded_otherwise(self, tokens: Tokens) -> Iterator[float]:
        """HF's scores of a continuation with its logits moved by what float32 rounds off.

        Where a warper cuts between two tokens of nearly one score, they are far apart.
        """
        if self.case.config.do_sample:
            for seed in range(_ROUNDINGS):
                yield self.searches.score(self.case, self.row, tokens, rounding=seed)

    def _divisor(self, tokens: Tokens) -> float:
        return self.searches.divisor(tokens, self.case)

    def _penalised(self, score: float, tokens: Tokens) -> float:
        return self.searches.penalised(score, tokens, self.case)
