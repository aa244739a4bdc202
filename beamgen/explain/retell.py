"""From what a traced file gives to the steps of its search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from beamgen.explain.story import DROPPED, FINISHED, KEPT, Continuation, Step
from beamgen.settings.config import SearchConfig
from beamgen.settings.result import DEAD

Arrays = Mapping[str, npt.NDArray[np.generic]]
Path = tuple[tuple[int, int], ...]
TextOf = Callable[[list[int]], str]


@dataclass
class _Beam:
    """A running beam between two steps."""

    ids: list[int] = field(default_factory=list)
    score: float = 0.0
    path: Path = ()


@dataclass(frozen=True)
class Held:
    """A hypothesis that the search holds."""

    path: Path
    score: float


@dataclass(frozen=True)
class Told:
    """A search retold.

    Attributes:
        steps: in order.
        held: the hypotheses in the end, best first.
        stopped: why it ended there.
    """

    steps: tuple[Step, ...]
    held: tuple[Held, ...]
    stopped: str


def retell(arrays: Sequence[Arrays], config: SearchConfig, text_of: TextOf) -> Told:
    """Retell one row.

    Args:
        arrays: for each step the values of ``trace.TRACED``, without their batch axis.
        config: that it was searched with, ``max_new_tokens`` known.
        text_of: generated ids -> their text.

    Source: ``GenerationMixin._beam_search`` of transformers 4.57 and what it calls.
    """
    running = [_Beam() for _ in range(config.num_beams)]
    held: list[Held | None] = [None] * config.num_beams
    over = False
    steps = []
    for step, values in enumerate(arrays, 1):
        state = _State(step, values, config, running, held, over)
        continuations = tuple(state.continuations(text_of))
        after, displaced = state.held_after()
        steps.append(Step(step, continuations, displaced))
        running, held = state.running_after(), after
        over = not bool(np.all(values["unsatisfied"]))
    stopped = _why_stopped(arrays[-1], len(steps), config, held)
    return Told(tuple(steps), tuple(h for h in held if h is not None), stopped)


@dataclass
class _State:
    """One step, and what the search held before it."""

    step: int
    values: Arrays
    config: SearchConfig
    running: list[_Beam]
    held: list[Held | None]
    over: bool

    def continuations(self, text_of: TextOf) -> Iterator[Continuation]:
        """Those alive; the dead, with which a search fills up, come last."""
        for rank, (score, token, parent) in enumerate(self._rows()):
            if score <= DEAD:
                return
            beam = self.running[parent]
            before = text_of(beam.ids) if beam.ids else ""
            text = text_of([*beam.ids, token])
            told = Continuation(
                rank=rank,
                parent=parent,
                token=token,
                text=text[len(before) :] if text.startswith(before) else text_of([token]),
                log_prob=score - beam.score,
                score=score,
                fate=DROPPED,
                reason="",
            )
            yield self._ended(told) if self._ends(token) else self._going_on(told)

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
            if not self._is_held(place):
                after.append(None)
            elif rank < 0:
                kept.add(index)
                after.append(self.held[index])
            else:
                path = (*self.running[rows[rank][2]].path, (self.step, rank))
                after.append(Held(path, score))
        displaced = [h.path[-1] for i, h in enumerate(self.held) if h and i not in kept]
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
        score = float(self.values["finished_scores"][place])
        return bool(self.values["is_sent_finished"][place]) and score > DEAD

    def _ends(self, token: int) -> bool:
        limit = self.config.max_new_tokens
        return token in self.config.eos_token_id or (limit is not None and self.step >= limit)

    def _going_on(self, told: Continuation) -> Continuation:
        beams = self._ints("running_index")
        if told.rank in beams:
            place = beams.index(told.rank)
            return replace(told, fate=KEPT, beam=place, reason=f"runs on as beam {place + 1}")
        return replace(told, reason=f"not among the best {self.config.num_beams} that go on")

    def _ended(self, told: Continuation) -> Continuation:
        what = "EOS" if told.token in self.config.eos_token_id else "max_new_tokens reached"
        score = told.score / self.step**self.config.length_penalty
        told = replace(told, hypothesis_score=score)
        index = told.rank + len(self.held)
        places = self._ints("finished_index")
        if index in places and self._is_held(places.index(index)):
            return replace(told, fate=FINISHED, reason=f"{what}: a hypothesis")
        if told.rank >= self.config.num_beams:
            return replace(
                told, reason=f"{what}, but not among the best {self.config.num_beams} of the step"
            )
        scores = [h.score for h in self.held if h is not None]
        if self.over:
            return replace(told, reason=f"{what}, but its row was finished")
        if self.config.early_stopping is True and len(scores) == len(self.held):
            return replace(told, reason=f"{what}, but early_stopping found enough hypotheses")
        return replace(told, reason=f"{what}, but worse than all hypotheses held")


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
    worst = min((h.score for h in held if h is not None), default=float("-inf"))
    return (
        f"the best running beam, {best:.4f} / {length}^{penalty:g} = "
        f"{best / length**penalty:.4f}, could not beat the worst hypothesis, {worst:.4f}"
    )
