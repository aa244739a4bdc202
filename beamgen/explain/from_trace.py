"""A search, read from a traced file's outputs: what each step kept, finished and dropped.

``formats/web/page/trace.js`` reads the same in a browser; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from beamgen.explain.beams import DROPPED, FINISHED, KEPT, Continuation, Place, Step
from beamgen.settings.config import SearchConfig
from beamgen.settings.result import DEAD
from beamgen.tokenizer.added_text import TokenText

Arrays = Mapping[str, npt.NDArray[np.generic]]
Path = tuple[Place, ...]


@dataclass
class _Beam:
    """A running beam between two steps."""

    ids: list[int]
    score: float = 0.0
    path: Path = ()


@dataclass(frozen=True)
class Held:
    """A hypothesis that the search holds."""

    path: Path
    score: float


@dataclass(frozen=True)
class TracedSearch:
    """What a trace says of one row.

    Attributes:
        steps: in order.
        held: the hypotheses in the end, best first.
        stopped: why it ended there.
    """

    steps: tuple[Step, ...]
    held: tuple[Held, ...]
    stopped: str

    def at(self, place: Place) -> Continuation:
        """The continuation that stands there."""
        step, rank = place
        return self.steps[step - 1].continuations[rank]


def read_search(
    arrays: Sequence[Arrays], config: SearchConfig, prompt: Sequence[int], text: TokenText
) -> TracedSearch:
    """Read one row.

    Args:
        arrays: for each step the values of ``search.traced.TRACED``, without their batch axis.
        config: that it was searched with, ``max_new_tokens`` known.
        prompt: the row's ids.
        text: what a token adds to the text of the ids before it.

    Source: ``GenerationMixin._beam_search`` of transformers 4.57 and what it calls.
    """
    running = [_Beam(list(prompt)) for _ in range(config.num_beams)]
    held: list[Held | None] = [None] * config.num_beams
    over = False
    steps = []
    for step, values in enumerate(arrays, 1):
        reader = _StepReader(step, values, config, running, held, over)
        continuations = tuple(reader.continuations(text))
        after, displaced = reader.held_after()
        steps.append(Step(step, continuations, displaced))
        running, held = reader.running_after(), after
        over = not bool(np.all(values["unsatisfied"]))
    stopped = _why_stopped(arrays[-1], len(steps), config, held)
    return TracedSearch(tuple(steps), tuple(each for each in held if each is not None), stopped)


@dataclass
class _StepReader:
    """One step, and what the search held before it."""

    step: int
    values: Arrays
    config: SearchConfig
    running: list[_Beam]
    held: list[Held | None]
    over: bool

    def continuations(self, text: TokenText) -> Iterator[Continuation]:
        """Those alive; the dead, with which a search fills up, come last."""
        for rank, (score, token, parent) in enumerate(self._rows()):
            if score <= DEAD:
                return
            beam = self.running[parent]
            continuation = Continuation(
                rank=rank,
                parent=parent,
                token=token,
                text=text(beam.ids, token),
                log_prob=score - beam.score,
                score=score,
                fate=DROPPED,
                reason="",
            )
            if self._ends(token):
                yield self._ended(continuation)
            else:
                yield self._going_on(continuation)

    def running_after(self) -> list[_Beam]:
        """In the order of their places."""
        rows = list(self._rows())
        after = []
        for rank in self._ints("running_index"):
            score, token, parent = rows[rank]
            beam = self.running[parent]
            after.append(_Beam([*beam.ids, token], score, (*beam.path, (self.step, rank))))
        return after

    def held_after(self) -> tuple[list[Held | None], Path]:
        """The hypotheses, and where those were generated that were displaced."""
        rows = list(self._rows())
        after: list[Held | None] = []
        kept = set()
        for place, (index, score) in enumerate(self._finished()):
            rank = index - len(self.held)
            if rank < 0:
                kept.add(index)
                after.append(self.held[index])
            elif self._is_held(place):
                path = (*self.running[rows[rank][2]].path, (self.step, rank))
                after.append(Held(path, score))
            else:
                after.append(None)
        displaced = [each.path[-1] for i, each in enumerate(self.held) if each and i not in kept]
        return after, tuple(displaced)

    def _rows(self) -> Iterator[tuple[float, int, int]]:
        names = ("top_scores", "top_tokens", "top_beams")
        yield from zip(*(self.values[name].tolist() for name in names), strict=True)

    def _ints(self, name: str) -> list[int]:
        found: list[int] = self.values[name].tolist()
        return found

    def _finished(self) -> Iterator[tuple[int, float]]:
        scores: list[float] = self.values["finished_scores"].tolist()
        yield from zip(self._ints("finished_index"), scores, strict=True)

    def _is_held(self, place: int) -> bool:
        """Whether a continuation of this step got a place: what comes too late is marked dead."""
        rank = self._ints("finished_index")[place] - len(self.held)
        marks = float(self.values["finished_scores"][place]) - self._penalised(
            float(self.values["top_scores"][rank])
        )
        return bool(self.values["is_sent_finished"][place]) and marks > DEAD

    def _ends(self, token: int) -> bool:
        limit = self.config.max_new_tokens
        return token in self.config.eos_token_id or (limit is not None and self.step >= limit)

    def _penalised(self, score: float) -> float:
        penalised: float = score / self.step**self.config.length_penalty
        return penalised

    def _going_on(self, continuation: Continuation) -> Continuation:
        beams = self._ints("running_index")
        if continuation.rank in beams:
            place = beams.index(continuation.rank)
            return replace(
                continuation, fate=KEPT, beam=place, reason=f"runs on as beam {place + 1}"
            )
        reason = f"not among the best {self.config.num_beams} that go on"
        return replace(continuation, reason=reason)

    def _ended(self, continuation: Continuation) -> Continuation:
        ended = replace(continuation, hypothesis_score=self._penalised(continuation.score))
        what = "EOS" if ended.token in self.config.eos_token_id else "max_new_tokens reached"
        index = ended.rank + len(self.held)
        places = self._ints("finished_index")
        if index in places and self._is_held(places.index(index)):
            return replace(ended, fate=FINISHED, reason=f"{what}: a hypothesis")
        return replace(ended, reason=f"{what}, but {self._why_not_held(ended.rank)}")

    def _why_not_held(self, rank: int) -> str:
        if rank >= self.config.num_beams:
            return f"not among the best {self.config.num_beams} of the step"
        if self.over:
            return "its row was finished"
        if self.config.early_stopping is True and all(self.held):
            return "early_stopping found enough hypotheses"
        return "worse than all hypotheses held"


def _why_stopped(
    last: Arrays, steps: int, config: SearchConfig, held: Sequence[Held | None]
) -> str:
    penalty = config.length_penalty
    if steps == config.max_new_tokens:
        return f"max_new_tokens {steps} was reached"
    if config.early_stopping is True and all(held):
        return f"{len(held)} hypotheses were finished, and early_stopping asks for no more"
    best = float(last["running_scores"][0])
    if best <= DEAD:
        return "no beam could go on"
    longest = config.early_stopping == "never" and penalty > 0
    length = (config.max_new_tokens or steps) if longest else steps
    worst = min((each.score for each in held if each is not None), default=float("-inf"))
    return (
        f"the best running beam, {best:.4f} / {length}^{penalty:g} = "
        f"{best / length**penalty:.4f}, could not beat the worst hypothesis, {worst:.4f}"
    )
