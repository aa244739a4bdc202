"""Where two searches part, and whether either answer is right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from beamgen.parity.candidates import Candidates
from beamgen.parity.margins import Margins
from beamgen.parity.reference import Reference
from beamgen.parity.report import (
    SCORE_TOLERANCE,
    CaseResult,
    ParityCase,
    Parting,
    Verdict,
    near,
    same_row,
)
from beamgen.runtime.trace import RowStep, SearchTrace, Tokens
from beamgen.settings.result import DEAD, BeamOutput

#: A continuation, and the beam or independent sequence that it stands on.
Choice = tuple[Tokens, int]


class Judge(ABC):
    """Finds out where two searches part, and whether either answer is right."""

    def __init__(self, reference: Reference, margins: Margins) -> None:
        """HF re-scores what one search kept and the other dropped."""
        self._reference = reference
        self._margins = margins

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
    def best_and_worst(self, case: ParityCase, step: int, told: RowStep) -> tuple[float, float]:
        """What the stop test compares: the best that may come, and the worst hypothesis."""

    @abstractmethod
    def drawn_alike(self, case: ParityCase, row: int, ours: Choice, theirs: Choice) -> bool:
        """Whether one choice, greedy or drawn, could have gone either way."""

    def __call__(self, case: ParityCase, expected: BeamOutput, found: BeamOutput) -> CaseResult:
        """The verdict on a case whose outputs differ, row by row."""
        slack = self._margins.slack(case, expected)
        rows = [
            row for row in range(len(case.prompts)) if not same_row(expected, found, row, slack)
        ]
        judged: list[Parting | None]
        if case.config.num_beams == 1:
            judged = [self._judge_one_beam(case, row, expected, found) for row in rows]
        else:
            theirs, ours = (self._live(trace, case) for trace in self.traces(case))
            judged = [self._judge_row(case, row, ours[row], theirs[row]) for row in rows]
            judged += self._judge_outputs(case, ours, found)
        partings = [parting for parting in judged if parting is not None]
        if not partings:
            # All agree, step by step, and the outputs are what the search found:
            # hypotheses of one score may come in another order, and nothing else.
            partings = [self._judge_order(case, row, expected, found) for row in rows]
        verdict = max((p.verdict for p in partings), key=list(Verdict).index)
        return CaseResult(case, verdict, float("nan"), partings)

    def _judge_row(
        self,
        case: ParityCase,
        row: int,
        ours: list[RowStep],
        theirs: list[RowStep],
    ) -> Parting | None:
        before = our_before = RowStep({(): 0.0}, {}, True)
        for step, (our_step, their_step) in enumerate(zip(ours, theirs, strict=False), start=1):
            parting = self._judge_step(case, row, step, our_step, their_step, before)
            if parting is not None and self._drawn_in_another_order(case, our_before, before):
                reason = "beams of nearly one score stood in another order, and drew accordingly"
                parting = replace(parting, verdict=Verdict.NEAR_TIE, reason=reason)
            before, our_before = their_step, our_step
            if parting is None:
                continue
            if parting.verdict is Verdict.NEAR_TIE:
                # HF takes another way from here, so HF has to score what was found.
                return self._judge_scores(case, row, ours[-1], parting)
            return parting
        if set(ours[-1].finished) != set(theirs[-1].finished):
            return Parting(
                Verdict.DIVERGED,
                row,
                min(len(ours), len(theirs)),
                f"the file stops after {len(ours)} tokens, HF after {len(theirs)}",
            )
        return None

    def _judge_scores(self, case: ParityCase, row: int, last: RowStep, tie: Parting) -> Parting:
        """After a near-tie: are the hypotheses worth what the file says?"""
        for tokens, score in last.finished.items():
            worth = self._penalised(self._score(case, row, tokens), tokens, case)
            divisor = self.divisor(tokens, case)
            if not self._margins.same(score, worth, len(tokens), divisor):
                return Parting(
                    Verdict.DIVERGED,
                    row,
                    len(tokens),
                    "a hypothesis found after a near-tie has another score",
                    list(tokens),
                    list(tokens),
                    score,
                    worth,
                    worth - score,
                )
        return tie

    def _judge_outputs(
        self, case: ParityCase, ours: SearchTrace, found: BeamOutput
    ) -> list[Parting | None]:
        """The file's outputs have to be the hypotheses its own search ended with."""
        returned = case.config.num_return_sequences
        best = [
            sorted(steps[-1].finished.items(), key=lambda item: -item[1])[:returned]
            for steps in ours
        ]
        longest = max((len(tokens) for row in best for tokens, _ in row), default=0)
        partings: list[Parting | None] = []
        for row, hypotheses in enumerate(best):
            if len(hypotheses) < returned:
                continue  # an unfinished filler is returned, as in HF
            fill = case.config.fill_token_id
            wanted = [[*tokens, *[fill] * (longest - len(tokens))] for tokens, _ in hypotheses]
            given = found.sequences[row, :, case.prompt_len :].tolist()
            scores = zip(found.sequences_scores[row].tolist(), hypotheses, strict=True)
            same = all(near(a, b, SCORE_TOLERANCE) for a, (_, b) in scores)
            if sorted(wanted) != sorted(given) or not same:
                reason = "the outputs differ though the searches agree: not what the search found"
                partings.append(
                    Parting(Verdict.DIVERGED, row, longest, reason, given[0], wanted[0])
                )
        return partings

    def _judge_order(
        self, case: ParityCase, row: int, expected: BeamOutput, found: BeamOutput
    ) -> Parting:
        width = min(expected.sequences.shape[2], found.sequences.shape[2])
        theirs = expected.sequences[row, :, :width].tolist()
        ours = found.sequences[row, :, :width].tolist()
        tie = sorted(theirs) == sorted(ours) and theirs != ours
        reason = "the outputs differ though the searches agree"
        if tie:
            reason = "hypotheses of one score come in another order"
        elif theirs == ours:
            reason = "the same hypotheses have other log-probabilities, beam indices or reasons"
        return Parting(
            Verdict.NEAR_TIE if tie else Verdict.DIVERGED,
            row,
            width - case.prompt_len,
            reason,
            ours[0][case.prompt_len :],
            theirs[0][case.prompt_len :],
        )

    def _judge_step(
        self,
        case: ParityCase,
        row: int,
        step: int,
        ours: RowStep,
        theirs: RowStep,
        before: RowStep,
    ) -> Parting | None:
        """The first thing that differs after one step, in the order it is decided."""

        def running(tokens: Tokens) -> float:
            return self._score_in_search(case, row, tokens)

        def finished(tokens: Tokens) -> float:
            known = before.finished.get(tokens) if self._margins.noise else None
            score = self._score_in_search(case, row, tokens)
            return self._penalised(score, tokens, case) if known is None else known

        def drawn_alike(kept: Tokens, dropped: Tokens) -> bool:
            """Whether it was the draw that could have gone either way."""
            beams = list(before.running)
            if not case.config.do_sample or not kept or not dropped:
                return False
            if not {kept[:-1], dropped[:-1]} <= set(beams):
                return False
            one, other = ((tokens, beams.index(tokens[:-1])) for tokens in (kept, dropped))
            return self.drawn_alike(case, row, one, other)

        def drawn(kept: Tokens, dropped: Tokens) -> bool:
            sampled = case.config.do_sample
            return sampled and alike(kept, dropped)

        def alike(kept: Tokens, dropped: Tokens) -> bool:
            return drawn_alike(kept, dropped) or self._at_border(case, row, kept, dropped)

        def divisor(tokens: Tokens) -> float:
            return self.divisor(tokens, case)

        parting = _compare_kept(
            *("running beams", row, step, ours.running, theirs.running),
            *(running, drawn, self._margins, lambda tokens: 1.0),
        ) or _compare_kept(
            *("hypotheses", row, step, ours.finished, theirs.finished),
            *(finished, alike, self._margins, divisor),
        )
        if parting is None and ours.unsatisfied != theirs.unsatisfied:
            return self._judge_stop(case, row, step, theirs)
        return parting

    def _judge_stop(self, case: ParityCase, row: int, step: int, theirs: RowStep) -> Parting:
        """The same beams and hypotheses, but one side sees a reason to go on."""
        best, worst = self.best_and_worst(case, step, theirs)
        divisor = min(self.divisor(tokens, case) for tokens in theirs.running or [(0,) * step])
        tie = self._margins.tied(best, worst, step, divisor)
        return Parting(
            Verdict.NEAR_TIE if tie else Verdict.DIVERGED,
            row,
            step,
            "one goes on and the other stops: best running score against worst hypothesis",
            our_score=best,
            reference_score=worst,
            margin=abs(best - worst),
        )

    def _judge_one_beam(
        self, case: ParityCase, row: int, expected: BeamOutput, found: BeamOutput
    ) -> Parting:
        """Greedy search, or independent samples, of which the first that differs."""
        theirs = expected.sequences[row, :, case.prompt_len :].tolist()
        ours = found.sequences[row, :, case.prompt_len :].tolist()
        chains = enumerate(zip(ours, theirs, strict=True))
        place = next((i for i, (one, other) in chains if one != other), 0)
        our, their = ours[place], theirs[place]
        step = next(
            (i for i, (a, b) in enumerate(zip(our, their, strict=False)) if a != b),
            min(len(our), len(their)) - 1,
        )
        kept, dropped = tuple(our[: step + 1]), tuple(their[: step + 1])
        values = {t: self._score(case, row, t) for t in (kept, dropped)}
        tie = kept != dropped and self.drawn_alike(case, row, (kept, place), (dropped, place))
        return Parting(
            Verdict.NEAR_TIE if tie else Verdict.DIVERGED,
            row,
            step + 1,
            "another token is taken"
            if kept != dropped
            else "the same tokens have another score or another end",
            list(kept),
            list(dropped),
            values[kept],
            values[dropped],
            values[dropped] - values[kept],
        )

    def _score(self, case: ParityCase, row: int, tokens: Tokens) -> float:
        """HF's summed log-probability under the case's settings."""
        input_ids, attention_mask = case.batch()
        return self._reference.score(input_ids[row], attention_mask[row], tokens, case.config)

    def _drawn_in_another_order(self, case: ParityCase, ours: RowStep, theirs: RowStep) -> bool:
        """Whether the same beams stand in another order, for a difference that noise makes.

        Random numbers are a beam's by its place.
        """
        order = {tokens: place for place, tokens in enumerate(theirs.running)}
        if not case.config.do_sample or not self._margins.noise or set(order) != set(ours.running):
            return False
        beams = list(ours.running)
        swapped = [
            (one, other)
            for place, one in enumerate(beams)
            for other in beams[place + 1 :]
            if order[one] > order[other]
        ]
        return bool(swapped) and all(
            self._margins.tied(theirs.running[one], theirs.running[other], len(one))
            for one, other in swapped
        )

    def _at_border(self, case: ParityCase, row: int, kept: Tokens, dropped: Tokens) -> bool:
        """Whether one of them is chosen, or is not, by a difference that noise makes.

        An EOS counts among a step's ``num_beams`` best continuations only, and what is
        drawn are the best with random numbers added.
        """
        if not self._margins.noise:
            return False
        borders = (
            (len(tokens), border)
            for tokens in (kept, dropped)
            for border in self._borders(case, row, tokens)
        )
        return any(self._margins.tied(*border, length) for length, border in borders)

    def _borders(self, case: ParityCase, row: int, tokens: Tokens) -> list[tuple[float, float]]:
        """Pairs of scores, of which a choice depends: see ``Candidates.border``."""
        found = self.candidates.border(row, tokens, case.config.num_beams)
        return [] if found is None else [found]

    def _score_in_search(self, case: ParityCase, row: int, tokens: Tokens) -> float:
        """The same as the reference search itself had it, where that may be another number.

        Scales that are shared with neighbours make it so.
        """
        found = self.candidates.score(row, tokens) if self._margins.noise else None
        return self._score(case, row, tokens) if found is None else found

    def _live(self, trace: SearchTrace, case: ParityCase) -> SearchTrace:
        """Without hypotheses that a dead beam left, which carry the -1e9 of its mark."""
        return [
            [
                replace(
                    step,
                    finished={
                        t: s for t, s in step.finished.items() if s * self.divisor(t, case) > DEAD
                    },
                )
                for step in row
            ]
            for row in trace
        ]

    def _penalised(self, score: float, tokens: Tokens, case: ParityCase) -> float:
        with np.errstate(over="ignore"):
            return float(score / np.float64(self.divisor(tokens, case)))


def powered(length: int, penalty: float) -> float:
    """A length by which scores are divided."""
    return float(np.float64(length) ** penalty)


def _compare_kept(
    what: str,
    row: int,
    step: int,
    ours: dict[Tokens, float],
    theirs: dict[Tokens, float],
    rescore: Callable[[Tokens], float],
    drawn_alike: Callable[[Tokens, Tokens], bool],
    margins: Margins,
    divisor: Callable[[Tokens], float],
) -> Parting | None:
    """Compare what the two searches keep after a step, as scored sets."""
    for tokens in sorted(set(ours) & set(theirs), key=theirs.__getitem__, reverse=True):
        if not margins.same(ours[tokens], theirs[tokens], len(tokens), divisor(tokens)):
            return Parting(
                Verdict.DIVERGED,
                row,
                step,
                f"the same continuation among the {what} has another score",
                list(tokens),
                list(tokens),
                ours[tokens],
                theirs[tokens],
                theirs[tokens] - ours[tokens],
            )
    extra = {tokens: rescore(tokens) for tokens in set(ours) - set(theirs)}
    missing = {tokens: rescore(tokens) for tokens in set(theirs) - set(ours)}
    if not extra and not missing:
        return None
    # The tie has to cover the worst we kept and the best we dropped.
    kept = min(extra, key=extra.__getitem__, default=())
    dropped = max(missing, key=missing.__getitem__, default=())
    both = bool(extra and missing)
    tie = drawn_alike(kept, dropped) or (
        both and margins.tied(extra[kept], missing[dropped], len(kept), divisor(kept))
    )
    if extra:
        tie = tie and margins.same(ours[kept], extra[kept], len(kept), divisor(kept))
    return Parting(
        Verdict.NEAR_TIE if tie else Verdict.DIVERGED,
        row,
        step,
        f"the {what} differ",
        list(kept),
        list(dropped),
        ours.get(kept),
        theirs.get(dropped),
        missing[dropped] - extra[kept] if extra and missing else None,
    )
